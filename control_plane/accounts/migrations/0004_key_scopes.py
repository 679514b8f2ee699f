from django.db import migrations, models

import control_plane.accounts.models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_audit_append_only")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=models.JSONField(
                default=control_plane.accounts.models.inference_only,
                help_text="inference, manage, or both.",
            ),
        ),
    ]
