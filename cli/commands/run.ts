/** `run`: scores one folder on this machine, coordinator and worker nodes in one process. */
import { asCount, pythonSetting, slotsSetting } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { JobErrorsView } from '../../coordinator/api/backend.ts';
import { interruptible, type CommandContext } from '../command-context.ts';
import { eventText } from '../job-text.ts';
import { resolveInvocation, type InvocationFlags } from './deployment-flags.ts';
import { progressTeller, tellFate } from './job-follow.ts';

export interface RunFlags extends InvocationFlags {
  readonly nodes: string;
  readonly slots?: string;
  readonly python?: string;
  readonly sample?: string;
}

/** The first interrupt cancels in order, the second ends the process. @returns the exit code */
export async function runCommand(context: CommandContext, path: string, flags: RunFlags): Promise<number> {
  const { host, output } = context;
  if (flags.sample !== undefined)
    throw new BatchError('USAGE', '--sample goes with --dry-run: it scores some files and keeps nothing');
  const nodes = asCount(flags.nodes, '--nodes');
  const slots = slotsSetting(flags.slots, host.environment);
  const python = pythonSetting(flags.python, host.environment);
  const invocation = await resolveInvocation(context, path, flags);
  const interrupt = interruptible(host, () => output.note('canceling; once more to stop at once'));
  const show = progressTeller(context);
  let errors: JobErrorsView | null = null;
  try {
    const job = await host.processes.runEmbedded({
      ...invocation,
      nodes,
      slots,
      python,
      signal: interrupt.signal,
      onEvent: (event) => {
        if (event.kind === 'attempt-failed' || event.kind === 'file-failed') output.note(eventText(event));
        show(event);
      },
      onErrors: (found) => (errors = found),
      onKept: (text) => output.note(text),
    });
    return tellFate(context, job, 'wait', errors);
  } finally {
    interrupt.dispose();
  }
}
