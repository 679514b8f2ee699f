from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy_config", "0003_strategies_per_model"),
    ]

    operations = [
        migrations.AddField(
            model_name="proxyconfig",
            name="digest_drift",
            field=models.CharField(
                choices=[
                    ("majority", "the version that most active nodes have"),
                    ("newest", "the version that was copied to a node last"),
                    ("any", "whichever the chosen node has; for embeddings the majority's"),
                ],
                default="majority",
                help_text="Which version of a model is served where nodes have different ones.",
                max_length=16,
            ),
        ),
    ]
