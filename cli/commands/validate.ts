/** `validate`: reads a deployment as `run` would, and says what it came to. */
import type { CommandContext } from '../command-context.ts';
import { deploymentSheet } from '../job-text.ts';
import { loadWithFlags, type DeploymentFlags } from './deployment-flags.ts';

export async function validateCommand(context: CommandContext, path: string, flags: DeploymentFlags): Promise<number> {
  context.output.item(await loadWithFlags(context, path, flags), deploymentSheet);
  context.output.note(`${path} is valid`);
  return 0;
}
