/** Memory of scoring hosts: what is over its limit is killed and told as such, with what is known of it. */
import { systemClock } from '../../common/io/clock.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HostProcess } from '../../worker/pool/host-process.ts';
import { failed, openBench, patience, scored, type HostBench } from '../helpers/python-host.ts';

let bench: HostBench;
const hosts: HostProcess[] = [];
beforeEach(() => void (bench = openBench()));
afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.kill()));
  await bench.close();
});

const megabyte = 1_048_576;
const memoryBytesMax = 200 * megabyte;

async function start(): Promise<HostProcess> {
  const host = await HostProcess.start({ ...bench.options(), memoryBytesMax });
  hosts.push(host);
  return host;
}

/** Takes 10 MB at a time without end, so that the watch has its turn, and holds it. */
const hog = `
import subprocess, sys, time
def hog():
    kept = []
    while len(kept) < 400:
        kept.append(b"x" * 10_000_000)
        time.sleep(0.01)
def run(mini_batch):
    for path in mini_batch:
        text = open(path).read()
        if text == "hog": hog()
        if text == "child": subprocess.run([sys.executable, "-c", "import time\\nk=[]\\nfor n in range(400):\\n    k.append(b'x'*10_000_000)\\n    time.sleep(0.01)"])
        if text == "raise": raise MemoryError("Unable to allocate 9 GiB")
        if text == "exit": import os; os._exit(3)
    return mini_batch
`;

it.each(['hog', 'child'])(
  '%s: the host is killed above its limit, with the file and the figures told',
  async (name) => {
    bench.code('batch_driver.py', hog);
    const host = await start();
    const outcome = failed(await host.score(bench.files('fine', name, 'other'), patience));
    expect(outcome).toMatchObject({ isHostDead: true, hostExit: 'signal SIGKILL', fileIndex: 1 });
    expect(outcome.failure.code).toBe('SCORER_OUT_OF_MEMORY');
    expect(outcome.failure.message).toMatch(/used \d+ MB .* allows 200 MB.* open last was/);
    expect(outcome.peakMemoryBytes).toBeGreaterThan(memoryBytesMax);
    expect(outcome.peakMemoryBytes).toBeLessThan(4 * memoryBytesMax);
    expect(host.isAlive).toBe(false);
  },
);

it('leaves a host alone that stays below, and forgets its peak with the mini-batch', async () => {
  bench.code('batch_driver.py', hog);
  const host = await start();
  scored(await host.score(bench.files('fine'), patience));
  expect(host.isAlive).toBe(true);
});

it('tells a MemoryError as want of memory; the host lives on', async () => {
  bench.code('batch_driver.py', hog);
  const host = await start();
  const outcome = failed(await host.score(bench.files('raise', 'fine'), patience));
  expect(outcome).toMatchObject({ isHostDead: false, hostExit: null, failure: { code: 'SCORER_OUT_OF_MEMORY' } });
  expect(outcome.peakMemoryBytes).toBeGreaterThan(megabyte);
});

it('tells how a host ended that no one killed', async () => {
  bench.code('batch_driver.py', hog);
  const outcome = failed(await (await start()).score(bench.files('exit'), patience));
  expect(outcome).toMatchObject({ hostExit: 'exit code 3', failure: { code: 'SCORER_CRASHED' } });
});

it('a kill by somebody is no want of memory', async () => {
  bench.code('batch_driver.py', 'import os\ndef run(mini_batch):\n    os.kill(os.getpid(), 9)\n');
  const outcome = failed(await (await start()).score(bench.files('a'), patience));
  expect(outcome).toMatchObject({ hostExit: 'signal SIGKILL', failure: { code: 'SCORER_CRASHED' } });
});

it('is limited in init() too', async () => {
  bench.code('batch_driver.py', `${hog}\ndef init():\n    hog()\n`);
  await expect(start()).rejects.toMatchObject({ code: 'SCORER_OUT_OF_MEMORY' });
});

it('tells the processor time of each mini-batch, children included, and waiting is none', async () => {
  const busy = 'import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n';
  bench.code(
    'batch_driver.py',
    `import subprocess, sys, time
busy = ${JSON.stringify(busy)}
def init():
    exec(busy)
def run(mini_batch):
    for path in mini_batch:
        text = open(path).read()
        if text == "busy": exec(busy)
        if text == "child": subprocess.run([sys.executable, "-c", busy])
        if text == "wait": time.sleep(0.3)
    return mini_batch
`,
  );
  const host = await start();
  expect(host.takeCpuSeconds(systemClock.monotonic())).toBeGreaterThanOrEqual(0.3);
  const spent: number[] = [];
  for (const name of ['busy', 'child', 'wait']) {
    scored(await host.score(bench.files(name), patience));
    spent.push(host.takeCpuSeconds(systemClock.monotonic()) ?? -1);
  }
  const [own = 0, child = 0, wait = 1] = spent;
  expect(own).toBeGreaterThanOrEqual(0.28);
  expect(own).toBeLessThan(0.6);
  expect(child).toBeGreaterThanOrEqual(0.28);
  expect(wait).toBeLessThan(0.2);
  await host.kill();
  expect(host.takeCpuSeconds(Infinity)).toBe(null);
});
