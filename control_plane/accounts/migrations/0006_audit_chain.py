"""Each audit record is linked to the one before it; those that are there have no link."""

from importlib import import_module

import django.utils.timezone
from django.db import migrations, models

# SQLite alters a table by making it anew, and the triggers are gone with the old one.
triggers = import_module("control_plane.accounts.migrations.0003_audit_append_only")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_key_limits"),
    ]

    operations = [
        migrations.RunPython(triggers.drop, triggers.create),
        migrations.AddField(
            model_name="auditrecord",
            name="link",
            field=models.CharField(default="", editable=False, max_length=64),
        ),
        migrations.AlterField(
            model_name="auditrecord",
            name="at",
            field=models.DateTimeField(
                db_index=True, default=django.utils.timezone.now, editable=False
            ),
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("records", models.PositiveBigIntegerField(default=0)),
                ("link", models.CharField(default="", max_length=64)),
                ("seal", models.CharField(default="", max_length=64)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="accounts_one_audit_head"
                    )
                ],
            },
        ),
        migrations.RunPython(triggers.create, triggers.drop),
    ]
