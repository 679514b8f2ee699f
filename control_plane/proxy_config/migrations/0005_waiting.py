import django.core.validators
from django.db import migrations, models

import control_plane.proxy_config.models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy_config", "0004_digest_drift"),
    ]

    operations = [
        migrations.AddField(
            model_name="proxyconfig",
            name="max_wait_s",
            field=models.FloatField(
                default=300.0,
                help_text="How long a request may be held; one that would be held longer is refused at once.",
                validators=[
                    control_plane.proxy_config.models.validate_finite,
                    django.core.validators.MinValueValidator(0.1),
                    django.core.validators.MaxValueValidator(86400),
                ],
            ),
        ),
        migrations.AddField(
            model_name="proxyconfig",
            name="max_waiting",
            field=models.PositiveIntegerField(
                default=512,
                help_text="Requests that each data plane holds at most until a slot is free, under the strategy predicted; 0 holds none: they queue at the nodes.",
                validators=[django.core.validators.MaxValueValidator(100000)],
            ),
        ),
    ]
