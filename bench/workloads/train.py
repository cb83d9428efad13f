"""Tables, a model trained on them and the deployment that scores them: ``train.py FOLDER FILES``."""

import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS = 2_500
COLUMNS = 12

SCORE = '''import os

import joblib
import pandas as pd

model = None


def init():
    global model
    model = joblib.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.joblib"))


def run(mini_batch):
    frames = []
    for path in mini_batch:
        table = pd.read_csv(path)
        score = model.predict_proba(table)[:, 1]
        frames.append(pd.DataFrame({"file": os.path.basename(path), "row": range(len(table)), "score": score}))
    return pd.concat(frames, ignore_index=True)
'''

DEPLOYMENT = """name: python-tables
code_configuration:
  code: code
  scoring_script: score.py
settings:
  mini_batch_size: 2
  output:
    format: csv
  resources:
    keep_warm: true
  environment_variables:
    OMP_NUM_THREADS: "1"
    OPENBLAS_NUM_THREADS: "1"
"""


def table(random: np.random.Generator) -> pd.DataFrame:
    values = random.normal(50, 20, size=(ROWS, COLUMNS)).round(3)
    return pd.DataFrame(values, columns=[f"x{column}" for column in range(COLUMNS)])


def main() -> None:
    folder, files = Path(sys.argv[1]), int(sys.argv[2])
    random = np.random.default_rng(12)
    known = table(random)
    label = (known["x0"] * known["x1"] + known["x2"] * 10 > 3_000).astype(int)
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(random_state=0))
    model.fit(known, label)
    (folder / "inputs").mkdir()
    (folder / "code").mkdir()
    joblib.dump(model, folder / "code" / "model.joblib")
    (folder / "code" / "score.py").write_text(SCORE)
    (folder / "deployment.yml").write_text(DEPLOYMENT)
    for file in range(files):
        table(random).to_csv(folder / "inputs" / f"table-{file:04d}.csv", index=False)


if __name__ == "__main__":
    main()
