"""Run by Airflow's own Python: loads the DAGs of a folder as its scheduler does, and tells of them.

Prints JSON: what couldn't be imported, and for the one DAG its settings and its task's, templates
rendered; and what Dataflow's own description of its service finds wrong with the request.
"""

import json
import sys
from pathlib import Path

import googleapiclient
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from jsonschema import Draft202012Validator


def problems(request):
    """Of a request, by the discovery document that Google's client ships."""
    documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((documents / "dataflow.v1b3.json").read_text())["schemas"]
    text = json.dumps(schemas).replace('"$ref": "', '"$ref": "#/$defs/')
    definitions = json.loads(text)
    for definition in definitions.values():
        # Of a message that has fields, the service refuses any other.
        if "properties" in definition:
            definition["additionalProperties"] = False
    schema = {"$ref": "#/$defs/LaunchFlexTemplateRequest", "$defs": definitions}
    return [error.message for error in Draft202012Validator(schema).iter_errors(request)]


bag = DagBag(dag_folder=sys.argv[1])
if bag.import_errors:
    print(json.dumps({"errors": bag.import_errors}))
    sys.exit()
(dag,) = bag.dags.values()
(task,) = dag.tasks
variables = {"palipipe_project": "my-project", "palipipe_region": "us-central1"}
task.render_template_fields({"var": {"value": variables}})
wrong = {"launchParameter": {**task.body["launchParameter"], "jobname": "misspelt"}}
print(
    json.dumps(
        {
            "errors": {},
            "schedule": dag.schedule,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "is_flex": isinstance(task, DataflowStartFlexTemplateOperator),
            "deferrable": task.deferrable,
            "append_job_name": task.append_job_name,
            "project": task.project_id,
            "location": task.location,
            "body": task.body,
            "problems": problems(task.body),
            "problems_of_a_wrong_one": problems(wrong),
        }
    )
)
