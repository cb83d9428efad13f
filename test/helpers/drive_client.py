"""Drives a client that openapi-python-client made: endpoint, deployment, invoke, poll, list, download.

Arguments: folder that has the package `batchmill_client`, address of the coordinator, deployment file, input folder.
Prints a JSON object with what it got.
"""
import json
import sys
import time

folder, address, deployment, inputs = sys.argv[1:]
sys.path.insert(0, folder)

from batchmill_client import Client  # noqa: E402
from batchmill_client.api.endpoints import invoke_endpoint, put_deployment, put_endpoint  # noqa: E402
from batchmill_client.api.jobs import get_job, label_job, list_jobs  # noqa: E402
from batchmill_client.api.output import list_output, read_output  # noqa: E402
from batchmill_client.api.server import get_health  # noqa: E402
from batchmill_client.models import (  # noqa: E402
    DeploymentRequest,
    EndpointRequest,
    Invocation,
    JobLabels,
    JobStatus,
    Problem,
)

client = Client(base_url=address)
assert get_health.sync(client=client).status == "ok"
endpoint = put_endpoint.sync("generated", client=client, body=EndpointRequest(description="by a generated client"))
assert endpoint.name == "generated", endpoint
made = put_deployment.sync(
    "generated", "only", client=client, body=DeploymentRequest(deployment=deployment, set_default=True)
)
assert made.revision == 1, made

asked = Invocation(input_=inputs, display_name="from Python")
job = invoke_endpoint.sync("generated", client=client, body=asked, idempotency_key="k1")
again = invoke_endpoint.sync("generated", client=client, body=asked, idempotency_key="k1")
assert job.name == again.name

deadline = time.monotonic() + 60
ends = {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED}
while job.status not in ends and time.monotonic() < deadline:
    time.sleep(0.1)
    job = get_job.sync(job.name, client=client)
assert job.status is JobStatus.COMPLETED, job

page = list_jobs.sync(client=client, endpoint="generated", limit=10)
labelled = label_job.sync(job.name, client=client, body=JobLabels(archived=True))
hidden = list_jobs.sync(client=client, endpoint="generated")
files = list_output.sync(job.name, client=client).value
rows = read_output.sync(job.name, "predictions.csv", client=client)
nested = next(one.path for one in files if "/" in one.path)
problem = get_job.sync("nobody", client=client)
print(
    json.dumps(
        {
            "job": job.name,
            "listed": [one.name for one in page.value],
            "next": page.next_,
            "display": labelled.display_name,
            "hidden": len(hidden.value),
            "rows": rows.payload.read().decode(),
            "nested": len(read_output.sync(job.name, nested, client=client).payload.read()) > 0,
            "problem": [isinstance(problem, Problem), problem.code, problem.status],
        }
    )
)
