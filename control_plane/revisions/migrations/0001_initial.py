import uuid

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def begin(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("revisions", "Revision").objects.create(id=1, revision=1)


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Revision",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("epoch", models.UUIDField(default=uuid.uuid4)),
                ("revision", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="revisions_one_row")
                ],
            },
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
    ]
