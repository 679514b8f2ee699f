"""The audit log can be appended to, and nothing else: the database itself says so."""

from typing import Any

from django.db import migrations

TABLE = "accounts_auditrecord"
REFUSAL = "the audit log is append-only"

SQLITE = {
    action: f"""
        CREATE TRIGGER {TABLE}_no_{action} BEFORE {action.upper()} ON {TABLE}
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
    """
    for action in ("update", "delete")
}

POSTGRESQL = f"""
    CREATE FUNCTION {TABLE}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$;
    CREATE TRIGGER {TABLE}_no_change BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION {TABLE}_refuse();
    CREATE TRIGGER {TABLE}_no_truncate BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_refuse();
"""
POSTGRESQL_DROP = f"""
    DROP TRIGGER {TABLE}_no_change ON {TABLE};
    DROP TRIGGER {TABLE}_no_truncate ON {TABLE};
    DROP FUNCTION {TABLE}_refuse();
"""


def create(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL)
    else:
        for statement in SQLITE.values():
            schema_editor.execute(statement)


def drop(_apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_DROP)
    else:
        for action in SQLITE:
            schema_editor.execute(f"DROP TRIGGER {TABLE}_no_{action}")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_token_generation")]
    operations = [migrations.RunPython(create, drop)]
