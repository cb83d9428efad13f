/** A job as worker nodes are told of it. */
import type { JobSpec, ShadowSpec } from '../common/core/cluster-messages.ts';
import type { Deployment } from '../common/core/deployment.ts';
import { defaultOutputForm } from '../common/core/output-form.ts';
import type { JobShadow } from '../common/core/shadow.ts';
import type { Job, Ledger } from './core/ledger.ts';
import { outputPlaceOf } from './job-files.ts';
import { attemptsPlace } from './output/output-place.ts';

/** Columns that are fixed, where rows are to be widened to them. */
export function toldColumns({ deployment, schemas, schema }: Job): { readonly columns?: readonly string[] } {
  const columns = deployment.settings.outputForm?.evolves ? schemas[schema]?.columns : undefined;
  return columns ? { columns } : {};
}

/** Parts alone go to the output without passing here: what user code appends to has to be put together. */
function attemptsLocationOf(ledger: Ledger, { rowsOf }: Job): string | null {
  const outer = rowsOf === null ? undefined : ledger.jobs.get(rowsOf);
  return outer ? attemptsPlace(outputPlaceOf(outer), outer.name) : null;
}

/** Values of secrets by name. */
type Secrets = Readonly<Record<string, string>>;

/** `secrets`: of those that the settings of a deployment refer to. */
export function jobSpec(
  ledger: Ledger,
  job: Job,
  inputRoot: string,
  secrets: (settings: Deployment['settings'], isShadow: boolean) => Secrets,
): JobSpec {
  const { deployment, shadow } = job;
  const { settings } = deployment;
  return {
    name: job.name,
    ...scoredBy(deployment, secrets(settings, false)),
    owner: job.origin.owner,
    inputRoot,
    outputDir: settings.customOutput === 'shared' ? job.outputDir : null,
    attemptsLocation: attemptsLocationOf(ledger, job),
    ...(shadow && { shadow: shadowSpec(deployment, shadow, secrets(shadow.deployment.settings, true)) }),
  };
}

/** Its rows are written as those of the job, so that they can be compared. */
function shadowSpec({ settings }: Deployment, { deployment, tolerance }: JobShadow, secrets: Secrets): ShadowSpec {
  const spec = scoredBy(deployment, secrets);
  const { outputFormat, outputForm = defaultOutputForm, outputAction } = settings;
  const own = { outputFormat, outputForm, outputAction, customOutput: 'collected', concurrencyMax: null } as const;
  return { ...spec, settings: { ...spec.settings, ...own }, tolerance };
}

function scoredBy(deployment: Deployment, secrets: Secrets): Omit<ShadowSpec, 'tolerance'> {
  const { settings } = deployment;
  return {
    deployment: deployment.name,
    scorer: deployment.scorer,
    model: deployment.model,
    code: deployment.code,
    environment: deployment.environment,
    settings: {
      timeoutMs: settings.timeoutMs,
      outputFormat: settings.outputFormat,
      outputForm: settings.outputForm ?? defaultOutputForm,
      outputAction: settings.outputAction,
      loggingLevel: settings.loggingLevel,
      environmentVariables: settings.environmentVariables,
      secrets,
      customOutput: settings.customOutput,
      outputFileName: settings.outputAction === 'append_row' ? settings.outputFileName : null,
      memoryBytesMax: settings.memoryBytesMax,
      concurrencyMax: settings.concurrencyPerInstanceMax,
      ...(settings.gpu ? { gpu: settings.gpu } : {}),
      keepWarm: settings.keepWarm ?? deployment.scorer.kind === 'onnx',
    },
  };
}
