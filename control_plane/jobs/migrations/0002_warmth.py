from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="is_warmth",
            field=models.BooleanField(
                default=False,
                help_text="Asked for by `warm_models` of the proxy config, not by a user.",
            ),
        ),
    ]
