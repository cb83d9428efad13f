/** Names that the files of an output in parts will have: what stands under one of them is in the way. */
import { hasParts, isOneFile, type PartsForm } from '../../common/core/parts-form.ts';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import { partitionFolder } from '../../common/format/partition-path.ts';

export interface PartNames {
  /** What the names of the folders begin with, from the top; empty: files lie at the top. */
  readonly folders: readonly string[];
  /** Of a file in the last folder. */
  isPart(name: string): boolean;
}

/** Null where the rows are the output as they are. */
export function partNames(
  settings: Pick<DeploymentSettings, 'outputAction' | 'outputFileName' | 'parts'>,
): PartNames | null {
  if (!hasParts(settings)) return null;
  const { outputFileName: name } = settings;
  const parts = settings.parts as PartsForm;
  const folders = parts.partitionBy.map((column) => partitionFolder(column, null).replace(/=.*$/s, '='));
  if (isOneFile(parts)) return { folders, isPart: (found) => found === name };
  const ending = name.replace(/^part-\d+/, '');
  const isPart = (found: string): boolean =>
    found.endsWith(ending) && /^part-\d{5,}(_\d{4,})?$/.test(found.slice(0, found.length - ending.length));
  return { folders, isPart };
}

/** Whether a file of this path below the output has the name of a part. */
export function isPartPath({ folders, isPart }: PartNames, path: string): boolean {
  const names = path.split('/');
  const file = names.pop() ?? '';
  return names.length === folders.length && folders.every((begin, at) => names[at]?.startsWith(begin)) && isPart(file);
}
