/** Carries a plan out: writes its files, runs its steps one after the other, keeps all that they print in a log. */
import { spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { InstallerOutput } from './installer-output.ts';
import type { BuildStep, EnvironmentPlan } from './plan-environment.ts';

export interface BuildOptions {
  /** Absolute; made anew. */
  readonly logPath: string;
  /** All variables of the installer. */
  readonly environment: Readonly<Record<string, string>>;
  /** Ends the step that runs, with all that it started. */
  readonly signal: AbortSignal;
  /** A step begins, and what it prints from then on. */
  readonly onStep: (phase: string, output: InstallerOutput) => void;
}

/** Throws ENVIRONMENT_BUILD_FAILED with the installer's last lines as detail, and the signal's reason. */
export async function buildEnvironment(plan: EnvironmentPlan, options: BuildOptions): Promise<void> {
  const log = createWriteStream(options.logPath, { mode: 0o600 });
  try {
    for (const { path, text } of plan.files) await writeFile(path, text);
    for (const step of plan.steps) await runStep(plan, step, log, options);
  } finally {
    log.end();
    await finished(log).catch(() => undefined);
  }
}

async function runStep(plan: EnvironmentPlan, step: BuildStep, log: WriteStream, options: BuildOptions): Promise<void> {
  options.signal.throwIfAborted();
  const output = new InstallerOutput();
  options.onStep(step.phase, output);
  log.write(`$ ${[step.command, ...step.args].join(' ')}\n`);
  const end = await run(step, options, (chunk) => {
    log.write(chunk);
    output.push(chunk.toString('utf8'));
  });
  options.signal.throwIfAborted();
  if (end === 'exit code 0') return;
  const lines = output.lastLines;
  const said = end.startsWith('exit code') ? output.essence : '';
  const what = said || `${step.command} ended with ${end}`;
  // Most of the time another Python than the one that was asked for is the reason.
  const warnings = plan.warnings.map((warning) => `; ${warning}`).join('');
  throw new BatchError(
    'ENVIRONMENT_BUILD_FAILED',
    `environment ${plan.name} cannot be built (${plan.tool}): ${what}${warnings}; the whole log is ${options.logPath} on this worker node`,
    { detail: lines.join('\n') },
  );
}

/** How it ended, in words. */
function run(
  { command, args }: BuildStep,
  { environment, signal }: BuildOptions,
  onOutput: (chunk: Buffer) => void,
): Promise<string> {
  return new Promise((resolve) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(limits.environmentBuildMsMax)]);
    // Its own group: an installer starts compilers and more of itself.
    const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        if (errnoOf(error) !== 'ESRCH') throw error;
      }
    };
    limit.addEventListener('abort', kill);
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    const end = (how: string): void => {
      limit.removeEventListener('abort', kill);
      resolve(limit.aborted ? `no result within ${limits.environmentBuildMsMax / 1_000} s` : how);
    };
    child.once('error', (error) => end(reasonOf(error)));
    child.once('close', (code, killedBy) => end(code === null ? `signal ${killedBy ?? '?'}` : `exit code ${code}`));
  });
}
