/** `doctor`: what is amiss here, on the coordinator and on its worker nodes, each line with the mend. */
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { isLoopback } from '../../common/config/address.ts';
import { connectionSetting } from '../../common/config/contexts.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { packageRuntime } from '../../common/io/package-files.ts';
import { clockOffset, verdicts, type DoctorLine } from '../../coordinator/core/doctor-checks.ts';
import { hereLines, type Reached } from '../../coordinator/core/doctor-here.ts';
import type { CommandContext } from '../command-context.ts';
import { ask } from '../operate-client.ts';
import type { AnswerFlags } from '../program-parts.ts';
import type { Column } from '../table.ts';

export interface DoctorFlags {
  readonly path?: readonly string[];
}

const columns: readonly Column<DoctorLine>[] = [
  { title: 'verdict', value: ({ verdict }) => verdict },
  { title: 'machine', value: ({ subject }) => subject },
  { title: 'check', value: ({ check }) => check },
  { title: 'found', value: ({ found }) => found },
  { title: 'mend', value: ({ mend }) => mend },
];

const serverReply = z.looseObject({ release: z.string(), now: z.iso.datetime() });
const text = z.string();
const reply = z.looseObject({
  value: z.array(z.looseObject({ subject: text, check: text, verdict: z.enum(verdicts), found: text, mend: text })),
});

/** @returns 0 when nothing fails, 1 when something does */
export async function doctorCommand(context: CommandContext, flags: AnswerFlags & DoctorFlags): Promise<number> {
  const { path: paths = [] } = flags;
  checkPaths(paths);
  const { server, token, isInsecure, caFingerprint } = await connectionSetting(flags, context.host.environment);
  const { origin } = await context.transport();
  const reached = await reach(context);
  const here = hereLines({
    ...{
      release: context.host.release,
      runtime: process.versions.node,
      runtimeWanted: packageRuntime(),
      origin,
      reached,
    },
    ...{ authority: caFingerprint, hasToken: token !== null, isInsecure, isLoopback: isLoopback(server.host) },
  });
  const lines = [...here, ...(reached.kind === 'answered' ? await thereLines(context, paths) : [])];
  context.output.list(lines, columns);
  return lines.some(({ verdict }) => verdict === 'fail') ? 1 : 0;
}

/** @throws USAGE */
function checkPaths(paths: readonly string[]): void {
  const odd = paths.find((path) => !isAbsolute(path) || path.length > limits.diagnosisPathCharsMax);
  if (odd !== undefined) {
    throw new BatchError(
      'USAGE',
      `--path: wanted an absolute path, the same on all machines; found ${JSON.stringify(odd)}`,
    );
  }
  if (paths.length <= limits.diagnosisPathsMax) return;
  throw new BatchError('USAGE', `--path: wanted at most ${limits.diagnosisPathsMax}, found ${paths.length}`);
}

/** The quickest of several answers tells the clock best: the first one also made the connection. */
async function reach(context: CommandContext): Promise<Reached> {
  const { clock } = context.host;
  let best: Extract<Reached, { kind: 'answered' }> | null = null;
  try {
    for (let tries = 0; tries < 3; tries += 1) {
      const askedMs = clock.wall();
      const { release, now } = await ask(context, { path: '/v1/server', reply: serverReply });
      const heardMs = clock.wall();
      const atMs = Date.parse(now);
      const offset = clockOffset({ askedMs, receivedMs: atMs, sentMs: atMs, heardMs });
      // The answer tells how far the coordinator is ahead; what is wanted is how far this machine is.
      const tripMs = heardMs - askedMs;
      if (best !== null && best.tripMs <= tripMs) continue;
      best = { kind: 'answered', release, tripMs, clock: { ...offset, aheadMs: -offset.aheadMs } };
    }
  } catch (error) {
    if (error instanceof BatchError) return refusal(error);
    throw error;
  }
  return best as NonNullable<typeof best>;
}

function refusal({ code, message, rule }: BatchError): Reached {
  const { help } = rule;
  if (code === 'SERVER_UNTRUSTED') return { kind: 'untrusted', message, help };
  return { kind: code === 'COORDINATOR_UNREACHABLE' ? 'unreachable' : 'refused', message, help };
}

async function thereLines(context: CommandContext, paths: readonly string[]): Promise<readonly DoctorLine[]> {
  const query = paths.map((path) => `path=${encodeURIComponent(path)}`).join('&');
  try {
    return (await ask(context, { path: `/v1/doctor${query === '' ? '' : `?${query}`}`, reply })).value;
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    const { code, message, rule } = error;
    return [
      { subject: 'coordinator', check: 'doctor', verdict: 'fail', found: `${code}: ${message}`, mend: rule.help },
    ];
  }
}
