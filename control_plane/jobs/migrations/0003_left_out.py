from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0002_warmth"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="left_out",
            field=models.JSONField(
                default=list,
                help_text="Of a pull that named no nodes: names of those that could not be used, and did not get it. Pull again when they are back.",
            ),
        ),
    ]
