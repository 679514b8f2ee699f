import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy_config", "0006_warm_models"),
    ]

    operations = [
        migrations.AddField(
            model_name="proxyconfig",
            name="pull_replicas",
            field=models.PositiveIntegerField(
                default=0,
                help_text="Nodes that a pull or create is for that says nothing of nodes: so many of the active pool, those that have the model first (and all of these), then those with the fewest models; 0: every one.",
                validators=[django.core.validators.MaxValueValidator(1000)],
            ),
        ),
    ]
