/** `plan`, `run --dry-run`: what scoring an input would come to, without a coordinator; with `--sample` some of it is really scored. */
import { asCount, pythonSetting, slotsSetting } from '../../common/config/process-settings.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { splitRule } from '../../common/core/split.ts';
import { systemRandom } from '../../common/io/random.ts';
import { Stores } from '../../common/storage/stores.ts';
import { inputsByLocation } from '../../coordinator/input/input-by-location.ts';
import { lookAtInput } from '../../coordinator/plan-input.ts';
import { exitInterrupted, type CommandContext } from '../command-context.ts';
import { planColumns, planText } from '../plan-text.ts';
import { resolveInput, type InputFlags } from './deployment-flags.ts';

export interface PlanFlags extends InputFlags {
  readonly nodes: string;
  readonly slots?: string;
  readonly sample?: string;
  readonly since?: string;
}

/** @returns the exit code */
export async function planCommand(context: CommandContext, path: string, flags: PlanFlags): Promise<number> {
  const { host, output } = context;
  const nodes = asCount(flags.nodes, '--nodes');
  const slots = slotsSetting(flags.slots, host.environment);
  const sampled = flags.sample === undefined ? null : asCount(flags.sample, '--sample');
  const { deployment, inputPath, selection } = await resolveInput(context, path, flags);
  if (flags.since !== undefined)
    output.note('note: counted as if all were scored; what --since takes is known to a job');
  const { environment, delay } = host;
  const inputs = inputsByLocation(new Stores({ environment, delay, random: systemRandom }));
  const look = await lookAtInput({
    inputs,
    deployment: deployment.name,
    miniBatchSize: deployment.settings.miniBatchSize,
    // What a sample is of are files.
    splitRule: sampled === null ? splitRule(deployment) : null,
    inputPath,
    selection,
    slots: slotsOf(deployment, nodes, slots),
    onProgress: (files) => host.stderr.isTerminal && output.progress(`listing  ${files} files`),
  });
  if (sampled === null) {
    output.page(look.report, planColumns, planText(look.report));
    return 0;
  }
  const { scoreSample } = await import('./plan-sample.ts');
  const python = pythonSetting(flags.python, host.environment);
  const sample = await scoreSample(context, { deployment, inputs, inputPath, look, sampled, slots, python });
  if (sample === null) return exitInterrupted;
  const report = { ...look.report, sample };
  output.page(report, planColumns, planText(report));
  return 0;
}

/** No more than the deployment lets a job have. */
function slotsOf({ settings }: LocalDeployment, nodes: number, slots: number): number {
  const { instanceCountMax, concurrencyPerInstanceMax } = settings;
  return Math.min(nodes, instanceCountMax ?? nodes) * Math.min(slots, concurrencyPerInstanceMax ?? slots);
}
