from django.db import migrations, models

import control_plane.proxy_config.models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy_config", "0005_waiting"),
    ]

    operations = [
        migrations.AddField(
            model_name="proxyconfig",
            name="warm_models",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Models to keep in memory: each with the number of nodes that shall hold it. They are loaded at the model refresh, where that pushes out nothing that is kept or was used within five minutes; see /api/proxy/models/warm.",
                validators=[control_plane.proxy_config.models.validate_warm_models],
            ),
        ),
    ]
