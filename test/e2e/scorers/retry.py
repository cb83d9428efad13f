"""Fails on files by what is in them, and notes every file that it was given."""

import os
import signal
import time

import pandas as pd


def init():
    pass


def run(mini_batch):
    names = []
    for path in mini_batch:
        name = os.path.basename(path)
        with open(os.path.join(os.environ["READS"], str(os.getpid())), "a") as log:
            log.write(name + "\n")
        with open(path) as file:
            word = file.read()
        if word == "raise":
            raise ValueError("poison in " + name)
        if word == "none":
            return None
        if word == "hang":
            time.sleep(3600)
        if word == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == "exit":
            os._exit(7)
        names.append(name)
    return pd.DataFrame({"file": names})
