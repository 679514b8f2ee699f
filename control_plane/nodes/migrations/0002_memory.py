from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("nodes", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="nodeinventory",
            name="memory",
            field=models.TextField(
                blank=True, default="", help_text="In the stored form of `memory`."
            ),
        ),
    ]
