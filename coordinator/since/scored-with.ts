/** All that rows depend on beside their input file, as one digest: rows of equal digests may stand in one output. */
import { createHash } from 'node:crypto';
import type { Deployment } from '../../common/core/deployment.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { environmentKey } from '../core/deployment-key.ts';

/**
 * SHA-256, hex digits, over scorer, digests of model and code, environment, environment variables with their values, and
 * the form of the rows.
 */
export function scoredWith({ scorer, model, code, environment, settings }: Deployment): string {
  const { environmentVariables, outputFormat, outputForm = defaultOutputForm } = settings;
  const variables = Object.entries(environmentVariables).sort(([a], [b]) => (a < b ? -1 : 1));
  const all = [
    ...[scorer, model?.digest ?? null, code?.digest ?? null],
    ...[environmentKey(environment), variables, outputFormat, outputForm],
  ];
  return createHash('sha256').update(JSON.stringify(all)).digest('hex');
}
