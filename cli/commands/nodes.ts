/** `node list`, `show`, `drain`, `cordon`, `uncordon`, `quarantine`, `release`, `label`. */
import { asAgeMs } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { NodeView } from '../../coordinator/api/backend.ts';
import { segment, type Answered, type Transport } from '../api/transport.ts';
import { strangerError } from '../connection.ts';
import { interruptible, type CommandContext } from '../command-context.ts';
import { nodeColumns, nodeSheet } from '../job-text.ts';
import { nodeReply, nodesReply } from '../replies.ts';

export interface DrainFlags {
  readonly deadline?: string;
  readonly wait?: boolean;
}

export interface QuarantineFlags {
  readonly reason?: string;
}

export type LabelFlags = Readonly<Record<never, never>>;

/** Each answers with the exit code. */
export async function listNodes(context: CommandContext): Promise<number> {
  const api = await context.transport();
  const nodes = nodesOf(api, await api.ask('GET', '/v1/nodes'));
  if (nodes.length === 0) context.output.note('no worker nodes; `batchmill coordinator start` says how one joins');
  context.output.list(nodes, nodeColumns);
  return 0;
}

export async function showNode(context: CommandContext, name: string): Promise<number> {
  context.output.item(await nodeNow(await context.transport(), name), nodeSheet);
  return 0;
}

export async function orderNode(
  context: CommandContext,
  name: string,
  verb: 'cordon' | 'uncordon' | 'release',
): Promise<number> {
  return answer(context, name, await asked(await context.transport(), name, verb, {}));
}

/** With `--wait`, it has left when this answers; an interrupt ends the waiting, not the drain. */
export async function drainNode(context: CommandContext, name: string, flags: DrainFlags): Promise<number> {
  const body = flags.deadline === undefined ? {} : { deadline_seconds: asAgeMs(flags.deadline, '--deadline') / 1_000 };
  const api = await context.transport();
  const nodes = await asked(api, name, 'drain', body);
  if (!flags.wait) return answer(context, name, nodes);
  const { host, output } = context;
  const interrupt = interruptible(host, () => output.note(`${name} goes on leaving`));
  try {
    for (;;) {
      const node = await nodeNow(api, name);
      if (node.state === 'gone' || node.state === 'lost') return answer(context, name, [node]);
      if (interrupt.signal.aborted) return 130;
      await host.delay(limits.drainLookMs, interrupt.signal);
    }
  } finally {
    interrupt.dispose();
  }
}

export async function quarantineNode(context: CommandContext, name: string, flags: QuarantineFlags): Promise<number> {
  const body = flags.reason === undefined ? {} : { reason: flags.reason };
  return answer(context, name, await asked(await context.transport(), name, 'quarantine', body));
}

/** @throws USAGE */
export async function labelNode(context: CommandContext, name: string, given: readonly string[]): Promise<number> {
  const labels = Object.fromEntries(given.map(labelOf));
  const api = await context.transport();
  const changed = nodesOf(api, await api.ask('PATCH', `${pathOf(name)}/labels`, { body: { labels } }));
  return answer(context, name, changed);
}

function labelOf(text: string): readonly [string, string | null] {
  const [, key, value] = /^([^=]+?)(?:=(.+)|-)$/.exec(text) ?? [];
  if (key !== undefined) return [key, value ?? null];
  throw new BatchError(
    'USAGE',
    `wanted gpu=a100 to set a label or gpu- to take it away, found ${JSON.stringify(text)}`,
  );
}

async function nodeNow(api: Transport, name: string): Promise<NodeView> {
  const parsed = nodeReply.safeParse((await api.ask('GET', pathOf(name))).value);
  if (parsed.success) return parsed.data;
  throw strangerError(api.origin, 'an answer is no worker node');
}

async function asked(api: Transport, name: string, verb: string, body: unknown): Promise<readonly NodeView[]> {
  return nodesOf(api, await api.ask('POST', `${pathOf(name)}/${verb}`, { body }));
}

function nodesOf(api: Transport, { value }: Answered): readonly NodeView[] {
  const parsed = nodesReply.safeParse(value);
  if (parsed.success) return parsed.data.value;
  throw strangerError(api.origin, 'an answer is no list of worker nodes');
}

function answer({ output }: CommandContext, name: string, nodes: readonly NodeView[]): number {
  if (nodes.every(({ joined_at: joined }) => joined === null)) {
    output.note(`${name} is not connected now; this holds when it joins`);
  }
  output.list(nodes, nodeColumns);
  return 0;
}

function pathOf(name: string): string {
  return `/v1/nodes/${segment(name)}`;
}
