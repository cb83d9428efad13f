/** What a deployment scores with, as a short text: what was learned of one job goes for the next one with the same. */
import type { Deployment, EnvironmentSpec } from '../../common/core/deployment.ts';

/** Equal for equal scorers, models, code, environments and variables, whatever the deployment is called. */
export function deploymentKey({ scorer, model, code, environment, settings }: Deployment): string {
  const parts = [
    scorer.kind === 'encode' ? { ...scorer, metadata: {} } : scorer,
    model?.digest ?? null,
    code?.digest ?? null,
    environmentKey(environment),
    settings.environmentVariables,
  ];
  const text = JSON.stringify(parts);
  return `${hashOf(text, 0x811c_9dc5)}${hashOf(text, 0x9e37_79b1)}`;
}

/** Equal for equal environments. */
export function environmentKey(environment: EnvironmentSpec): readonly (string | null)[] {
  switch (environment.kind) {
    case 'host':
      return ['host', environment.python];
    case 'conda':
      return ['conda', environment.conda.digest];
    case 'image':
      return ['image', environment.image, environment.conda?.digest ?? null];
  }
}

/** FNV-1a over UTF-16 units. No secret hangs on it: two deployments with one key would begin with each other's rates. */
function hashOf(text: string, seed: number): string {
  let hash = seed;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x0100_0193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
