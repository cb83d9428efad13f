/** `validate`: reads a YAML of any kind, a bare model or a script as other commands would, and says what it came to. */
import { loadConfigFile } from '../../common/config/config-file.ts';
import { kindText, type ConfigKind } from '../../common/config/config-kind.ts';
import { unreachable } from '../../common/core/invariant.ts';
import type { CommandContext } from '../command-context.ts';
import { deploymentSheet } from '../job-text.ts';
import { computeSheet, dataSheet, endpointSheet, environmentSheet, modelSheet } from '../config-text.ts';
import { loadOptions, type DeploymentFlags } from './deployment-flags.ts';

export interface ValidateFlags extends DeploymentFlags {
  readonly type?: ConfigKind;
}

export async function validateCommand(context: CommandContext, path: string, flags: ValidateFlags): Promise<number> {
  const { output } = context;
  const kind = flags.type === undefined ? {} : { kind: flags.type };
  const file = await loadConfigFile(path, { ...loadOptions(context, flags), ...kind });
  switch (file.kind) {
    case 'deployment':
      output.item(file.deployment, deploymentSheet);
      break;
    case 'endpoint':
      output.item(file, endpointSheet);
      break;
    case 'model':
      output.item(file, modelSheet);
      break;
    case 'data':
      output.item(file, dataSheet);
      break;
    case 'environment':
      output.item(file, environmentSheet);
      break;
    case 'compute':
      output.item(file, computeSheet);
      break;
    default:
      return unreachable(file);
  }
  output.note(file.kind === 'deployment' ? `${path} is valid` : `${path} is valid: ${kindText[file.kind]}`);
  return 0;
}
