"""HyperQueue: a server and a worker in this process's cluster, one task a unit. A task is a program, ``true``: what it prints is thrown
away, as its pages advise for many short tasks."""

import argparse
import os
import sys

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--output")
    given = parser.parse_args()
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=given.processes))
        client = cluster.client()

        def run() -> None:
            job = Job()
            for _ in range(given.count):
                job.program(["true"], stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])

        if not given.serve:
            run()
            return
        print("ready", flush=True)
        for _ in sys.stdin:
            run()
            print("done", flush=True)


if __name__ == "__main__":
    main()
