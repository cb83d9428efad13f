/** Answers as YAML; loaded when they are asked for so. */
import { stringify } from 'yaml';

export function yamlText(value: unknown): string {
  return stringify(value);
}
