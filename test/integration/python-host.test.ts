/** The Python scoring host against the scoring-script contract. Real Python processes. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import {
  failed,
  isRunning,
  openBench,
  patience,
  refusalOf,
  scored,
  textOf,
  type HostBench,
} from '../helpers/python-host.ts';
import { testPython } from '../helpers/python.ts';

let bench: HostBench;
beforeEach(() => void (bench = openBench()));
afterEach(() => bench.close());

const runOnly = 'def run(mini_batch):\n    return mini_batch\n';

/** Runs a script once over two files and gives the rows. */
async function rowsOf(script: string, format: 'azure' | 'csv' | 'jsonl' = 'azure'): Promise<string> {
  bench.code('batch_driver.py', script);
  const host = await bench.start({ settings: { outputFormat: format } });
  return textOf(await host.score(bench.files('a.png', 'b c.png'), patience));
}

describe('Python’s own tests', () => {
  it('pass, all of them', () => {
    const args = ['-W', 'error', '-m', 'unittest', 'discover', '-s', packageFile('test', 'python')];
    const env = { PATH: '/usr/bin:/bin', PYTHONPATH: packageFile('worker', 'python') };
    const done = spawnSync(testPython(), args, { env, encoding: 'utf8' });
    const ran = /^Ran (\d+) tests/m.exec(done.stderr);
    expect(done.stderr).toMatch(/\nOK\n$/);
    expect(Number(ran?.[1])).toBeGreaterThanOrEqual(50);
  });
});

describe('loading a script', () => {
  const refused = async (script: string): Promise<{ code: string; message: string; detail: string }> => {
    bench.code('batch_driver.py', script);
    return (await refusalOf(bench.start())).toFailure();
  };

  it('shows file, line, text and caret of a syntax error', async () => {
    const found = await refused('import os\n\ndef run(mini_batch)\n    return []\n');
    expect(found.code).toBe('SCRIPT_INVALID');
    // The words and the place of the caret differ between releases of Python.
    expect(found.message).toMatch(/^batch_driver\.py line 3: .+\n {4}def run\(mini_batch\)\n {8,}\^$/);
    expect(found.detail).not.toContain('batchmill_host');
  });

  it('shows it in a module of the code folder too', async () => {
    bench.code('helper.py', 'x = = 1\n');
    expect((await refused(`import helper\n${runOnly}`)).message).toMatch(
      /^helper\.py line 1: invalid syntax\n {4}x = = 1\n {8}\^$/,
    );
  });

  it('names the module that the interpreter lacks', async () => {
    const found = await refused(`import os\nimport torch_of_nobody.nn\n${runOnly}`);
    expect(found.code).toBe('SCRIPT_INVALID');
    expect(found.message).toContain("batch_driver.py needs the Python module 'torch_of_nobody'");
    expect(found.message).toContain('--python');
    expect(found.detail).toMatch(/File ".*batch_driver\.py", line 2, in <module>/);
    expect(found.detail).not.toContain('batchmill_host');
  });

  it.each([
    ['an exception', 'open("/no/such/weights")', 'loading batch_driver.py raised FileNotFoundError'],
    ['an exit', 'raise SystemExit(2)', 'loading batch_driver.py raised SystemExit: 2'],
    ['no run', 'def init(): pass\ndef score(x): pass', 'batch_driver.py must define run(); it has init, score'],
    ['a run that is none', 'run = 7', 'batch_driver.py must define run() (run is a int); it has no functions'],
    ['a run without arguments', 'def run(): return []', 'run() cannot be called; it must take run(mini_batch)'],
    ['a run with too many', 'def run(a, b, c): return []', 'run(a, b, c) cannot be called'],
    ['a null byte', 'x = "\0"', 'batch_driver.py'],
  ])('refuses %s', async (_, script, message) => {
    const found = await refused(`${script}\n`);
    expect(found.code).toBe('SCRIPT_INVALID');
    expect(found.message).toContain(message);
  });

  it('says which scripts there are when the one wanted is not', async () => {
    bench.code('other.py', runOnly);
    const error = await refusalOf(bench.start({ script: 'batch_driver.py' }));
    expect([error.code, error.message]).toEqual([
      'SCRIPT_INVALID',
      'the script batch_driver.py cannot be read (No such file or directory); the code folder has other.py',
    ]);
  });

  it.each([
    ['an exception', 'raise RuntimeError("no weights")', 'RuntimeError: no weights'],
    ['an exit', 'import sys; sys.exit("bye")', 'SystemExit: bye'],
    ['an interrupt', 'raise KeyboardInterrupt', 'KeyboardInterrupt'],
  ])('reports %s in init() with its traceback', async (_, line, message) => {
    bench.code('batch_driver.py', `def init():\n    ${line}\n${runOnly}`);
    const error = await refusalOf(bench.start());
    expect([error.code, error.message]).toEqual(['SCORER_INIT_FAILED', message]);
    expect(error.detail).toMatch(
      /^Traceback \(most recent call last\):\n {2}File ".*batch_driver\.py", line 2, in init/,
    );
  });

  it.each([
    [
      'a key that is not there',
      'os.environ["AZUREML_MODEL_DIR"]',
      "KeyError: 'AZUREML_MODEL_DIR'; AZUREML_MODEL_DIR is not",
    ],
    ['None', 'os.path.join(os.getenv("AZUREML_MODEL_DIR"), "m")', 'because the deployment has no model: give model'],
    ['its own error', 'open("/no/" + str(os.getenv("AZUREML_MODEL_DIR")))', "directory: '/no/None'"],
  ])('says what a script without its model lacks, when that shows as %s', async (_, line, message) => {
    bench.code('batch_driver.py', `import os\ndef init():\n    ${line}\n${runOnly}`);
    const error = await refusalOf(bench.start());
    expect([error.code, error.message]).toEqual(['SCORER_INIT_FAILED', expect.stringContaining(message)]);
  });

  it.each([
    ['at import', 'p.parse_args()', 'SCRIPT_INVALID', 'raised SystemExit: 2; argparse refused the arguments'],
    ['in init()', '', 'SCORER_INIT_FAILED', 'SystemExit: 2; argparse refused the arguments'],
  ])('says what to do when argparse ends the script %s', async (_, line, code, message) => {
    const init = 'def init():\n    p.parse_args()\n';
    bench.code('batch_driver.py', `import argparse\np = argparse.ArgumentParser()\n${line}\n${init}${runOnly}`);
    const error = await refusalOf(bench.start());
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(message)]);
    expect(error.message).toContain('parse_known_args()');
  });

  it('says how to import a module that lies beside the script', async () => {
    bench.code('helper.py', 'x = 1\n');
    const found = await refused(`from . import helper\n${runOnly}`);
    expect(found.message).toContain('write import x instead of from . import x');
  });

  it('needs no init(), and takes a script in a folder of the code', async () => {
    bench.code('src/helper_beside.py', 'name = "beside"\n');
    bench.code('helper_above.py', 'name = "above"\n');
    bench.code(
      'src/score.py',
      'import helper_beside, helper_above\ndef run(mini_batch):\n    return [helper_beside.name, helper_above.name]\n',
    );
    const host = await bench.start({ script: 'src/score.py' });
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('beside\nabove\n');
  });

  it.each(['json.py', 'frames.py', 'host.py', 'logging.py', 'my-script 2.py'])(
    'takes a script called %s',
    async (script) => {
      bench.code(script, runOnly.replace('mini_batch\n', '["fine"]\n').replace('run(["fine"]', 'run(mini_batch'));
      const host = await bench.start({ script });
      expect(await textOf(await host.score(bench.files('a'), patience))).toBe('fine\n');
    },
  );
});

describe('the contract', () => {
  it('has __file__, arguments, model folder, working directory, and files as absolute paths in a list', async () => {
    bench.code(
      'batch_driver.py',
      `import json, logging, os, sys
calls = []
def init(): calls.append("init")
def run(mini_batch):
    return [json.dumps([type(mini_batch).__name__, mini_batch, __file__, __name__, sys.argv, os.environ["AZUREML_MODEL_DIR"],
                        os.environ["MODE"], os.getcwd(), logging.getLogger().level, calls, sys.path[0], sorted(k for k in os.environ if "TOKEN" in k)])]
`,
    );
    const host = await bench.start({
      modelDir: '/models',
      env: { MODE: 'fast' },
      settings: { loggingLevel: 'warning' },
    });
    const files = bench.files('a', 'b');
    const script = join(bench.dir, 'code', 'batch_driver.py');
    for (let round = 0; round < 2; round += 1) {
      expect(JSON.parse(await textOf(await host.score(files, patience)))).toEqual([
        'list',
        files.map(({ path }) => path),
        script,
        'batch_driver',
        [script, '--logging_level', 'WARNING'],
        '/models',
        'fast',
        bench.dir,
        30,
        ['init'],
        join(bench.dir, 'code'),
        [],
      ]);
    }
  });

  it.each([
    ['two', 'mini_batch, mini_batch_context', '[str(mini_batch_context.partition_key_value)]', '{}\n'],
    ['a second with a default of its own', 'mini_batch, threshold=0.5', '[threshold]', '0.5\n'],
    [
      'a context with a default',
      'mini_batch, mini_batch_context=None',
      '[type(mini_batch_context).__name__]',
      'MiniBatchContext\n',
    ],
    ['any number', '*args', '[len(args)]', '1\n'],
    [
      'two, of which it wants the number',
      'mini_batch, mini_batch_context',
      '[mini_batch_context.mini_batch_id]',
      '0\n',
    ],
  ])('calls a run() that takes %s', async (_, parameters, result, rows) => {
    expect(await rowsOf(`def run(${parameters}):\n    return ${result}\n`)).toBe(rows);
  });

  it('writes pandas results as pandas does, in all formats', async () => {
    const script =
      'import os\nimport pandas as pd\ndef run(mini_batch):\n    return pd.DataFrame({"file": [os.path.basename(p) for p in mini_batch], "p": [0.5, None]})\n';
    expect(await rowsOf(script)).toBe('a.png 0.5\n"b c.png" \n');
    expect(await rowsOf(script, 'csv')).toBe('a.png,0.5\nb c.png,\n');
    expect(await rowsOf(script, 'jsonl')).toBe('{"file":"a.png","p":0.5}\n{"file":"b c.png","p":null}\n');
  });

  it('gives the header of a CSV as prologue, not as a row', async () => {
    bench.code('batch_driver.py', 'def run(mini_batch):\n    return [{"a": 1, "b": 2}]\n');
    const host = await bench.start({ settings: { outputFormat: 'csv' } });
    const outcome = scored(await host.score(bench.files('x'), patience));
    expect(outcome.summary.schema).toEqual({ columns: ['a:value', 'b:value'], prologue: 'a,b\n' });
    expect(await textOf(outcome)).toBe('1,2\n');
  });

  it.each([
    ['None', 'pass', 'NoneType'],
    ['a generator', 'yield 1', 'a generator'],
    ['text', 'return "x"', 'str'],
  ])('refuses %s and lives on', async (_, body, name) => {
    bench.code('batch_driver.py', `def run(mini_batch):\n    ${body}\n`);
    const host = await bench.start();
    const outcome = failed(await host.score(bench.files('a'), patience));
    expect(outcome).toMatchObject({ class: 'error', isHostDead: false, failure: { code: 'SCORER_OUTPUT_INVALID' } });
    expect(outcome.failure.message).toContain(`It returned ${name}`);
    expect(host.isAlive).toBe(true);
  });

  it('reports what makes rows that cannot be written', async () => {
    bench.code(
      'batch_driver.py',
      'class Odd:\n    def __str__(self): raise KeyError("odd")\ndef run(mini_batch):\n    return ["fine"] * 5000 + [Odd()]\n',
    );
    const host = await bench.start();
    const { failure } = failed(await host.score(bench.files('a'), patience));
    expect(failure.code).toBe('SCORER_OUTPUT_INVALID');
    expect(failure.message).toBe("what run() returned cannot be written as azure: KeyError: 'odd'");
    expect(failure.detail).toContain('line 2, in __str__');
  });

  it.each([
    ['an exit', 'raise SystemExit(3)', 'SCORER_FAILED', 'SystemExit: 3'],
    ['an interrupt', 'raise KeyboardInterrupt', 'SCORER_FAILED', 'KeyboardInterrupt'],
    [
      'an exception whose text fails',
      'raise type("E", (Exception,), {"__str__": lambda self: 1 / 0})()',
      'SCORER_FAILED',
      'E: (its text cannot be had: __str__ raised)',
    ],
    ['running out of memory', 'bytearray(1 << 60)', 'SCORER_OUT_OF_MEMORY', 'MemoryError'],
  ])('reports %s in run() and lives on', async (_, line, code, message) => {
    bench.code('batch_driver.py', `def run(mini_batch):\n    ${line}\n`);
    const host = await bench.start();
    for (let round = 0; round < 2; round += 1) {
      const outcome = failed(await host.score(bench.files('a'), patience));
      expect(outcome).toMatchObject({ isHostDead: false, failure: { code, message } });
    }
  });

  it('counts what it was given, whatever user code does to its list', async () => {
    bench.code(
      'batch_driver.py',
      'def run(mini_batch):\n    rows = [0] * len(mini_batch)\n    mini_batch.clear()\n    return rows\n',
    );
    const host = await bench.start();
    expect(scored(await host.score(bench.files('a', 'b'), patience)).summary.attribution).toBe('positional');
  });

  it.each(['fork', 'spawn', 'forkserver'])('lets scripts use process pools (%s)', async (method) => {
    expect(
      await rowsOf(`import multiprocessing, os
def name(path): return os.path.basename(path)
def run(mini_batch):
    with multiprocessing.get_context("${method}").Pool(2) as pool:
        return pool.map(name, mini_batch)
`),
    ).toBe('a.png\nb c.png\n');
  });

  it('is not disturbed by a forked child that comes back from run()', async () => {
    bench.code(
      'batch_driver.py',
      'import os\ndef run(mini_batch):\n    pid = os.fork()\n    if pid: os.waitpid(pid, 0)\n    return ["parent" if pid else "child"]\n',
    );
    const host = await bench.start();
    for (let round = 0; round < 2; round += 1) {
      expect(await textOf(await host.score(bench.files('a'), patience))).toBe('parent\n');
    }
  });

  it('hides its connection from what user code starts and numbers that it might write to', async () => {
    const script = `import os, subprocess
ours = [100, 101]
def run(mini_batch):
    for fd in ours: os.fstat(fd)
    seen = subprocess.run(["ls", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False, universal_newlines=True).stdout.split()
    return [str([fd for fd in ours if str(fd) in seen]), str([fd for fd in (3, 4) if os.path.exists(f"/proc/self/fd/{fd}")])]
`;
    expect(await rowsOf(script)).toBe('[]\n[]\n');
  });

  it('writes nothing into the code folder', async () => {
    bench.code('helper.py', 'x = 1\n');
    await rowsOf(
      `import helper\nimport subprocess, sys\nsubprocess.run([sys.executable, "-c", "import helper"], cwd="code", check=True)\n${runOnly}`,
    );
    expect(readdirSync(join(bench.dir, 'code')).sort()).toEqual(['batch_driver.py', 'helper.py']);
  });

  it('imports no pandas, numpy or other package of its own', async () => {
    // setuptools puts its hack into every process of an environment that has it.
    const rows = await rowsOf(`import sys
def run(mini_batch):
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    return [name for name, file in files.items() if "site-packages" in file and name != "_distutils_hack"]
`);
    expect(rows).toBe('');
  });

  it('ignores Ctrl-C, which is for the worker node', async () => {
    bench.code(
      'batch_driver.py',
      'import os, signal\ndef run(mini_batch):\n    os.kill(os.getpid(), signal.SIGINT)\n    return ["on"]\n',
    );
    const host = await bench.start();
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('on\n');
  });

  it('logs text of any kind, whatever the locale', async () => {
    bench.code('batch_driver.py', 'def run(mini_batch):\n    print("é 漢字 \\udc80")\n    return ["ü"]\n');
    const host = await bench.start({ env: { LC_ALL: 'C' } });
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('ü\n');
    expect(bench.printed.map(({ text }) => text).join('')).toBe('é 漢字 \\udc80\n');
  });
});

describe('what Azure’s images have', () => {
  it('is a folder for files of the script’s own, unless the worker node chose another', async () => {
    const script = 'import os\ndef run(mini_batch):\n    return [os.environ["AZUREML_BI_OUTPUT_PATH"]]\n';
    bench.code('batch_driver.py', script);
    const host = await bench.start();
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe(`${bench.dir}\n`);
    const shared = await bench.start({ env: { AZUREML_BI_OUTPUT_PATH: '/shared' } });
    expect(await textOf(await shared.score(bench.files('a'), patience))).toBe('/shared\n');
  });

  it('is EntryScript, one object with folders and a logger', async () => {
    bench.code(
      'batch_driver.py',
      `import os
from azureml_user.parallel_run import EntryScript
def init():
    EntryScript().logger.info("from init")
def run(mini_batch):
    script = EntryScript()
    return [script.agent_name, script.log_dir, script.output_dir, str(script is EntryScript())]
`,
    );
    const logDir = join(bench.dir, 'logs');
    const host = await bench.start({ init: { logDir, process: 7 } });
    const rows = (await textOf(await host.score(bench.files('a'), patience))).split('\n');
    expect(rows).toEqual(['process007', join(logDir, 'entry_script_log'), bench.dir, 'True', '']);
    const log = readFileSync(join(logDir, 'entry_script_log', 'process007.log.txt'), 'utf8');
    expect(log).toMatch(/\|INFO\|\d+\|from init\n$/);
    expect(bench.printed.map(({ text }) => text).join('')).toContain('INFO EntryScript: from init');
  });

  it('is the little of azureml.core that old scripts use; the rest is refused by name', async () => {
    bench.code(
      'batch_driver.py',
      `from azureml.core import Run
from azureml.core.model import Model
def refusal(statement):
    try:
        exec(statement)
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
def run(mini_batch):
    run = Run.get_context()
    run.log("files", len(mini_batch)); run.log("files", 3)
    return [Model.get_model_path("digits"), str(run.get_metrics()), refusal("from azureml.core import Dataset"), refusal("import azureml.dataprep")]
`,
    );
    mkdirSync(join(bench.dir, 'model', 'other-name'), { recursive: true });
    const host = await bench.start({ modelDir: join(bench.dir, 'model') });
    const rows = (await textOf(await host.score(bench.files('a', 'b'), patience))).split('\n');
    expect(rows.slice(0, 2)).toEqual([join(bench.dir, 'model', 'other-name'), "{'files': [2, 3]}"]);
    expect(rows[2]).toContain("azureml.core.Dataset is not part of the scoring host's stand-in for azureml");
    expect(rows[3]).toMatch(
      /^ModuleNotFoundError: azureml\.dataprep is not part .+ add azureml-core to the environment$/,
    );
    const log = bench.printed.map(({ text }) => text).join('');
    expect(log.match(/azureml is not installed: a small stand-in/g)).toHaveLength(1);
    expect(log).toContain('INFO azureml.core: metric files=2');
  });

  it('gives way to a package of that name that the script brings along, and is hidden from installed ones', async () => {
    bench.code('azureml_user/__init__.py', '');
    bench.code('azureml_user/parallel_run.py', 'EntryScript = "its own"\n');
    // Stands for a library: code below site-packages that looks whether a package is there.
    bench.code('site-packages/probe.py', 'import importlib.util\nfound = importlib.util.find_spec("azureml")\n');
    bench.code(
      'batch_driver.py',
      `import os, sys
sys.path.append(os.path.join(os.path.dirname(__file__), "site-packages"))
from azureml_user.parallel_run import EntryScript
import probe
def run(mini_batch):
    return [EntryScript, str(probe.found)]
`,
    );
    const host = await bench.start();
    expect(await textOf(await host.score(bench.files('a'), patience))).toBe('its own\nNone\n');
    expect(bench.printed).toEqual([]);
  });
});

describe('scripts that upset their process', () => {
  it.each([
    ['replaces sys.stdout', 'sys.stdout = open(os.devnull, "w"); print("gone"); logging.warning("logged")'],
    ['closes descriptor 1', 'os.close(1)'],
    ['closes sys.stdout', 'sys.stdout.close()'],
    ['has no sys.stdout', 'sys.stdout = sys.stderr = None'],
    [
      'leaves a thread behind',
      'import threading; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()',
    ],
    ['takes signals', 'import signal; signal.signal(signal.SIGTERM, lambda *_: None)'],
    ['starts a program', 'import subprocess; subprocess.Popen(["true"]).wait()'],
    ['changes its folder', 'os.chdir("/")'],
    [
      'uses a pool of futures',
      'from concurrent.futures import ProcessPoolExecutor\n    with ProcessPoolExecutor(2) as pool: assert list(pool.map(len, mini_batch))',
    ],
  ])('are scored all the same: %s', async (_, statement) => {
    bench.code(
      'batch_driver.py',
      `import logging, os, sys, time\ndef run(mini_batch):\n    ${statement}\n    return [os.path.basename(path) for path in mini_batch]\n`,
    );
    const host = await bench.start();
    for (let round = 0; round < (statement.startsWith('os.close') ? 1 : 2); round += 1) {
      expect(await textOf(await host.score(bench.files('a', 'b'), patience))).toBe('a\nb\n');
    }
    await host.stop();
  });

  it('runs exit handlers after shutdown()', async () => {
    bench.code(
      'batch_driver.py',
      `import atexit\natexit.register(print, "at exit")\ndef shutdown(): print("shutdown")\n${runOnly}`,
    );
    const host = await bench.start();
    await host.stop();
    expect(bench.printed.map(({ text }) => text).join('')).toBe('shutdown\nat exit\n');
  });

  it('takes no library apart when it ends, and lets all end that user code refers to', async () => {
    bench.code('helper.py', 'class Notes:\n    def __del__(self): print("freed", flush=True)\n');
    bench.code(
      'batch_driver.py',
      [
        'import atexit, os, helper, json.encoder',
        'atexit.register(print, "at exit")',
        'here = os.path.dirname(os.path.abspath(__file__))',
        'class Kept(helper.Notes):',
        '    def __init__(self):',
        '        self.file = open(os.path.join(here, "notes.txt"), "w")',
        '        self.ring = self.__init__',
        'class Library:',
        '    def __del__(self): print("of a library")',
        'json.encoder.of_nobody = Library()',
        'kept = Kept()',
        'def run(mini_batch):',
        '    kept.file.write("noted")',
        '    return [os.path.basename(path) for path in mini_batch]',
      ].join('\n'),
    );
    const host = await bench.start();
    await host.score(bench.files('a'), patience);
    await host.stop();
    expect(bench.printed.map(({ text }) => text).join('')).toBe('at exit\nfreed\n');
    expect(readFileSync(join(bench.dir, 'code', 'notes.txt'), 'utf8')).toBe('noted');
  });

  it('ends as an interpreter does where a thread goes on', async () => {
    const lines = ['import threading, time', 'def go_on():', '    while True: time.sleep(0.01)'];
    lines.push('threading.Thread(target=go_on, daemon=True).start()', runOnly);
    bench.code('batch_driver.py', lines.join('\n'));
    const host = await bench.start();
    await host.stop();
    expect(bench.printed).toEqual([]);
  });
});

describe('when the worker node dies', () => {
  it.each([
    ['between two mini-batches', 'return []'],
    ['inside of run()', 'time.sleep(600)'],
  ])('the host ends by itself %s', async (_, body) => {
    bench.code('batch_driver.py', `import time\ndef run(mini_batch):\n    print("in run", flush=True)\n    ${body}\n`);
    // A node that can be killed: a process of its own that starts one host and then does nothing more.
    const module = JSON.stringify(packageFile('dist', 'worker', 'pool', 'host-process.js'));
    const { logSink, ...options } = bench.options();
    expect(logSink).toBeTypeOf('function');
    const node = join(bench.dir, 'node.mjs');
    writeFileSync(
      node,
      `import { HostProcess } from ${module};
const host = await HostProcess.start({ ...${JSON.stringify(options)}, logSink: () => console.log('RUN') });
console.log('PID', host.pid);
const outcome = await host.score([{ path: '/a', name: 'a' }], { timeoutMs: 60000 });
console.log('DONE', outcome.kind);
setInterval(() => undefined, 1000);
`,
    );
    const child = spawn(process.execPath, [node], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => void (said += chunk.toString()));
    const awaited = body.startsWith('return') ? 'DONE scored' : 'RUN';
    await vi.waitFor(() => expect(said).toContain(awaited), { timeout: 20_000 });
    const pid = Number(/PID (\d+)/.exec(said)?.[1]);
    expect(isRunning(pid)).toBe(true);
    child.kill('SIGKILL');
    await vi.waitFor(() => expect(isRunning(pid) && !isZombie(pid)).toBe(false), { timeout: 20_000 });
  });
});

describe('the example', () => {
  it('scores real digits with a model in ONNX', async () => {
    const example = packageFile('examples', 'digits');
    const labels = readFileSync(join(example, 'labels.csv'), 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(','));
    const driver = readFileSync(join(example, 'code', 'batch_driver.py'), 'utf8');
    bench.code('batch_driver.py', driver);
    const host = await bench.start({ modelDir: join(example, 'model') });
    const files = labels.slice(0, 40).map(([name = '']) => ({ path: findInput(join(example, 'inputs'), name), name }));
    const rows = (await textOf(await host.score(files, patience)))
      .trim()
      .split('\n')
      .map((row) => row.split(' '));
    expect(rows.map(([file]) => file)).toEqual(files.map(({ path }) => path.split('/').at(-1)));
    const right = rows.filter(([, label], place) => label === labels[place]?.[1]).length;
    expect(right).toBeGreaterThanOrEqual(36);
  });
});

/** Labels name a file by its path within the inputs. */
function findInput(inputs: string, name: string): string {
  const path = join(inputs, name);
  expect(existsSync(path), `${path} of the example must exist`).toBe(true);
  return path;
}

/** A dead process that nobody has reaped: in a container without an init it keeps its number. */
function isZombie(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

describe('a script that has no memory on its device for more than 4 files', () => {
  const script = (result: string): string => `
import numpy, pandas
class OutOfMemoryError(RuntimeError): pass
def run(mini_batch, mini_batch_context):
    names = [path.rsplit("/", 1)[1] for path in mini_batch]
    print("call", mini_batch_context.minibatch_index, len(names))
    if len(names) > 4:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return ${result}
`;
  const names = Array.from({ length: 10 }, (_, index) => `${index}.txt`);
  const customDir = (): string => {
    mkdirSync(join(bench.dir, 'custom'), { recursive: true });
    return join(bench.dir, 'custom');
  };
  const calls = (): readonly string[] =>
    bench.printed
      .map(({ text }) => text)
      .join('')
      .split('\n')
      .filter((line) => line.startsWith('call '));

  it.each([
    ['a list', 'names'],
    ['a DataFrame', 'pandas.DataFrame({"name": names})'],
    ['an array', 'numpy.array(names)'],
  ])('is called with fewer, of %s the rows are one result', async (_, result) => {
    bench.code('batch_driver.py', script(result));
    const host = await bench.start({ init: { customDir: customDir() } });
    const first = scored(await host.score(bench.files(...names), { ...patience, first: 100 }));
    expect([first.summary.rows, first.summary.attribution, first.callSize]).toEqual([10, 'positional', 2]);
    const lines = (await textOf(first)).trim().split('\n');
    expect(lines.map((line) => /\d+\.txt/.exec(line)?.[0])).toEqual(names);
    await vi.waitFor(() => expect(calls().length).toBe(7));
    expect(calls().slice(0, 4)).toEqual(['call 100 10', 'call 100 5', 'call 100 2', 'call 102 2']);
    const again = scored(await host.score(bench.files(...names), patience));
    expect([again.summary.rows, again.callSize]).toEqual([10, null]);
  });

  it('is not called again where it has written files of its own, which must not be there twice', async () => {
    bench.code('batch_driver.py', script('names'));
    const host = await bench.start({ init: { customDir: customDir() } });
    writeFileSync(join(customDir(), 'rows.txt'), 'a row');
    const { failure } = failed(await host.score(bench.files(...names), patience));
    expect(failure.code).toBe('SCORER_OUT_OF_MEMORY');
    await vi.waitFor(() => expect(calls()).toEqual(['call 0 10']));
  });

  it('begins with what was learnt before, and a file alone fails as it does', async () => {
    bench.code('batch_driver.py', script('names'));
    const host = await bench.start({ init: { callSize: 4, customDir: customDir() } });
    expect(scored(await host.score(bench.files(...names), patience)).callSize).toBe(null);
    await vi.waitFor(() => expect(calls()).toEqual(['call 0 4', 'call 4 4', 'call 8 2']));
    bench.code('batch_driver.py', script('names').replace('> 4', '> 0'));
    const small = await bench.start({ init: { customDir: customDir() } });
    const { failure } = failed(await small.score(bench.files(...names), patience));
    expect(failure).toMatchObject({ code: 'SCORER_OUT_OF_MEMORY' });
    expect(failure.message).toContain(
      'the GPU, not the machine, has no memory left: OutOfMemoryError: CUDA out of memory',
    );
  });
});
