import uuid

from django.db import migrations, models


def begin(apps, _schema_editor):
    apps.get_model("revisions", "Revision").objects.create(id=1, revision=1)


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Revision",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
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
