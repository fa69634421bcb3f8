"""An Airflow DAG that launches the flex template every night and waits for its job.

Copy it to the folder of DAGs together with your copy of launch.json, and set the variables
`palipipe_project` and `palipipe_region`. It is for Airflow 3 with the Google provider.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import DAG

LAUNCH = json.loads(Path(__file__).with_name("launch.json").read_text())

with DAG(
    dag_id="palipipe_daily",
    description="Annotates what images have come since the last run",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # What a day left undone the next one does.
    catchup=False,
    max_active_runs=1,
    tags=["palipipe"],
):
    DataflowStartFlexTemplateOperator(
        task_id="annotate",
        body=LAUNCH,
        project_id="{{ var.value.palipipe_project }}",
        location="{{ var.value.palipipe_region }}",
        # Under one name, Dataflow itself refuses a second job while the first one runs.
        append_job_name=False,
        # The triggerer waits; no worker of Airflow's is kept for the hours that a job takes.
        deferrable=True,
        poll_sleep=60,
        # A job that is launched again goes on from what the failed one committed.
        retries=2,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(hours=20),
    )
