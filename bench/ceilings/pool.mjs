/**
 * A bare loop on every processor, which is what the ceiling of a workload is: one process each, told numbers of chunks of the work, and
 * nothing else between them. No order, nothing made durable, nothing tried again.
 *
 * `--input DIR --output DIR` scores once and ends. `--input DIR --serve` says `ready` when every process has its model, then scores
 * into the folder that each line on stdin names, and says `done`.
 */
import { fork } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

/** So many chunks a process has at a time: the next one is read while the model has the last. */
const chunksAhead = 2;

/**
 * `plan(options)` cuts the work into chunks, in every process alike. `open(options)` makes what scores a chunk: it is called with the
 * chunk and a function that writes text or bytes to the process's own file of the output.
 */
export async function ceiling({ options: own = {}, plan, open, header = '' }) {
  const { values } = parseArgs({
    options: {
      input: { type: 'string' },
      output: { type: 'string' },
      serve: { type: 'boolean' },
      processes: { type: 'string', default: String(availableParallelism()) },
      ...own,
    },
  });
  if (process.send) await work(values, plan, open, header);
  else await lead(values, plan);
}

async function lead(values, plan) {
  const chunks = plan(values).length;
  const workers = Array.from({ length: Number(values.processes) }, () => fork(process.argv[1], process.argv.slice(2)));
  for (const worker of workers) worker.once('exit', (code) => code === 0 || process.exit(1));
  await Promise.all(workers.map((worker) => heard(worker, 'open')));
  const score = (output) => {
    mkdirSync(output, { recursive: true });
    let next = 0;
    return Promise.all(
      workers.map(
        (worker, place) =>
          new Promise((resolve) => {
            let held = 0;
            const give = () => {
              if (next >= chunks) return;
              worker.send({ chunk: next++ });
              held += 1;
            };
            const hear = (said) => {
              if (said === 'scored') {
                held -= 1;
                give();
                if (held === 0) worker.send({ close: true });
              } else if (said === 'closed') {
                worker.off('message', hear);
                resolve();
              }
            };
            worker.on('message', hear);
            worker.send({ path: join(output, `part-${place}.csv`) });
            for (let i = 0; i < chunksAhead; i += 1) give();
            if (held === 0) worker.send({ close: true });
          }),
      ),
    );
  };
  if (values.serve) {
    console.log('ready');
    for await (const output of createInterface({ input: process.stdin })) {
      await score(output);
      console.log('done');
    }
  } else await score(values.output);
  for (const worker of workers) worker.disconnect();
}

function heard(worker, wanted) {
  return new Promise((resolve) => {
    worker.on('message', function hear(said) {
      if (said !== wanted) return;
      worker.off('message', hear);
      resolve();
    });
  });
}

async function work(values, plan, open, header) {
  const chunks = plan(values);
  const score = await open(values);
  let file = -1;
  const write = (text) => writeSync(file, text);
  process.on('message', ({ path, chunk, close }) => {
    if (path !== undefined) {
      file = openSync(path, 'w');
      if (header) write(typeof header === 'function' ? header(values) : header);
    } else if (close) {
      closeSync(file);
      process.send('closed');
    } else score(chunks[chunk], write).then(() => process.send('scored'), fail);
  });
  process.send('open');
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

/** Paths of all files below `dir`, relative to it, in the order of their names. */
export function filesBelow(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort();
}

/** Pieces of so many. */
export function inChunks(items, count) {
  return Array.from({ length: Math.ceil(items.length / count) }, (_, i) => items.slice(i * count, (i + 1) * count));
}

/** A float as results have it: what is whole keeps a fraction of nought. */
export const floatText = (value) => (Number.isInteger(value) ? `${value}.0` : String(value));
