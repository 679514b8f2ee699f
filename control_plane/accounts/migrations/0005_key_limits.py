import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_key_scopes"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="max_active",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests at once at each data plane; null: no limit.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(1000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="priority",
            field=models.SmallIntegerField(
                default=0,
                help_text="From -9 to 9: of requests that wait for a slot the higher goes first.",
                validators=[
                    django.core.validators.MinValueValidator(-9),
                    django.core.validators.MaxValueValidator(9),
                ],
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="requests_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests per minute at each data plane; null: no limit.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(1000000),
                ],
            ),
        ),
    ]
