/** `job logs`: what scoring hosts printed, whole, of one file of the input, or as it comes. */
import { processName } from '../../common/core/batch-record.ts';
import { asCount } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { FileQuery } from '../../coordinator/api/backend.ts';
import type { Client } from '../client.ts';
import { exitInterrupted, interruptible, type CommandContext } from '../command-context.ts';
import { fileColumns, type OutputFile } from '../job-text.ts';

export const logStreams = ['stdout', 'stderr', 'error'] as const;
type LogStream = (typeof logStreams)[number];

export interface LogsFlags {
  readonly node?: string;
  readonly process?: string;
  readonly stream?: LogStream;
  readonly file?: string;
  readonly miniBatch?: string;
  readonly follow?: boolean;
  readonly list?: boolean;
}

export async function logsCommand(context: CommandContext, given: string, flags: LogsFlags): Promise<number> {
  const client = await context.client();
  // `last` may mean another job by the time of the second question.
  const { name } = await client.show(given);
  if (flags.list) {
    context.output.list(await client.logFiles(name), fileColumns);
    return 0;
  }
  if (flags.file !== undefined) return await tellPrinted(context, name, { file: flags.file }, flags);
  if (flags.miniBatch !== undefined) {
    return await tellPrinted(context, name, { first: ordinal(flags.miniBatch) }, flags);
  }
  if (flags.follow) return await followLogs(context, client, name, flags);
  const files = (await client.logFiles(name)).filter((file) => isWanted(file.path, flags));
  if (files.length === 0)
    context.output.note(`${name} has no such log; \`batchmill job logs ${name} --list\` shows all`);
  const printer = new Printer(context, client, name);
  for (const file of files) await printer.print(file.path, 0, file.size_bytes);
  return 0;
}

/** What was printed while the mini-batch of one file was scored, attempt by attempt. */
async function tellPrinted(
  context: CommandContext,
  name: string,
  query: FileQuery,
  { node, process, stream }: LogsFlags,
): Promise<number> {
  const client = await context.client();
  const all = await client.printed(name, query);
  const records = all.filter((one) => (node ?? one.node) === one.node && isProcess(one.process, process));
  if (records.length === 0) context.output.note('no attempt of its mini-batch has been told yet');
  for (const one of records) {
    const files = one.count === 1 ? `file ${one.first}` : `files ${one.first} to ${one.first + one.count - 1}`;
    const why = one.code === null ? '' : `, ${one.code}: ${one.message ?? ''}`;
    context.output.note(
      `${one.start}  ${one.status}  ${files}, try ${one.attempt} on ${one.node} ${one.process}, ${one.run_seconds} s${why}`,
    );
    const printer = new Printer(context, client, name);
    for (const kind of ['stdout', 'stderr'] as const) {
      const [from, to] = one[kind];
      if ((stream ?? kind) !== kind || to <= from) continue;
      await printer.print(`user/${kind}/${one.node}/${one.process}.${kind}.txt`, from, to);
    }
  }
  return 0;
}

async function followLogs(context: CommandContext, client: Client, name: string, flags: LogsFlags): Promise<number> {
  const interrupt = interruptible(context.host, () => undefined);
  const printer = new Printer(context, client, name);
  const seen = new Map<string, number>();
  // The last bytes come after the job has ended.
  let looksLeft = 3;
  try {
    while (!interrupt.signal.aborted && looksLeft > 0) {
      const isOver = isFinal((await client.show(name)).status);
      let isNews = false;
      for (const { path, size_bytes: size } of await client.logFiles(name)) {
        const from = seen.get(path) ?? 0;
        if (!isWanted(path, flags) || size <= from) continue;
        isNews = true;
        await printer.print(path, from, size);
        seen.set(path, size);
      }
      if (isOver) looksLeft = isNews ? 3 : looksLeft - 1;
      if (looksLeft > 0) await context.host.delay(limits.logShipMs, interrupt.signal);
    }
    return interrupt.signal.aborted ? exitInterrupted : 0;
  } finally {
    interrupt.dispose();
  }
}

/** Says whose words follow whenever that changes. */
class Printer {
  readonly #context: CommandContext;
  readonly #client: Client;
  readonly #job: string;
  #path = '';

  constructor(context: CommandContext, client: Client, job: string) {
    this.#context = context;
    this.#client = client;
    this.#job = job;
  }

  async print(path: string, from: number, to: number): Promise<void> {
    const { output } = this.#context;
    if (path !== this.#path) output.note(`==> ${path} <==`);
    this.#path = path;
    const decoder = new TextDecoder();
    for await (const chunk of this.#client.logFile(this.#job, path, from, to - from)) {
      output.text(decoder.decode(chunk, { stream: true }));
    }
    output.text(decoder.decode());
  }
}

function isWanted(path: OutputFile['path'], { node, process, stream }: LogsFlags): boolean {
  const [, kind = '', ofNode = '', name = ''] = /^user\/(stdout|stderr|error)\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (kind === '' || (stream ?? kind) !== kind || (node ?? ofNode) !== ofNode) return false;
  return isProcess(name.split('.')[0] ?? '', process);
}

/** `--process 3`, `003` and `process003` are one. */
function isProcess(name: string, wanted: string | undefined): boolean {
  if (wanted === undefined || wanted === name) return true;
  const digits = wanted.replace(/^process/, '');
  if (/^\d{1,6}$/.test(digits)) return name === processName(Number(digits));
  throw new BatchError('USAGE', `--process: wanted the number of a process, found ${JSON.stringify(wanted)}`);
}

function ordinal(text: string): number {
  return text.trim() === '0' ? 0 : asCount(text, '--mini-batch');
}
