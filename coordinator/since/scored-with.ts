/** All that rows depend on beside their input file, as one digest: rows of equal digests may stand in one output. */
import { createHash } from 'node:crypto';
import type { Deployment, EnvironmentSpec } from '../../common/core/deployment.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';

/**
 * SHA-256, hex digits, over scorer, digests of model and code, environment, environment variables with their values, and
 * the form of the rows.
 */
export function scoredWith({ scorer, model, code, environment, settings }: Deployment): string {
  const { environmentVariables, outputFormat, outputForm = defaultOutputForm } = settings;
  const variables = Object.entries(environmentVariables).sort(([a], [b]) => (a < b ? -1 : 1));
  const all = [
    ...[scorer, model?.digest ?? null, code?.digest ?? null],
    ...[environmentOf(environment), variables, outputFormat, outputForm],
  ];
  return createHash('sha256').update(JSON.stringify(all)).digest('hex');
}

function environmentOf(environment: EnvironmentSpec): readonly (string | null)[] {
  switch (environment.kind) {
    case 'host':
      return ['host', environment.python];
    case 'conda':
      return ['conda', environment.conda.digest];
    case 'image':
      return ['image', environment.image, environment.conda?.digest ?? null];
  }
}
