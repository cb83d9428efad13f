/** What a schema of zod finds wrong, as problems that have a place in the file and say what was meant. */
import * as z from 'zod';
import { kindOf, type ConfigProblem, type KeyPath } from './config-source.ts';
import { nearestWord } from './nearest-word.ts';

/** Says more about an unknown key than the nearest word does; null when it has nothing to say. */
export type KeyHint = (parent: KeyPath, key: string, known: readonly string[]) => string | null;

/** Every problem of `error`, found when `schema` read `value`. */
export function problemsOf(
  error: z.ZodError,
  value: unknown,
  schema: z.ZodType,
  hint: KeyHint = () => null,
): readonly ConfigProblem[] {
  return error.issues.flatMap((issue): readonly ConfigProblem[] => {
    const path = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key, schema, hint));
    const found = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], value);
    const message = `${path.join('.')}: wanted ${issue.message}, found ${kindOf(found)}`;
    return [{ code: 'CONFIG_INVALID', path, at: 'value', message }];
  });
}

function unknownKey(parent: KeyPath, key: string, schema: z.ZodType, hint: KeyHint): ConfigProblem {
  const path = [...parent, key];
  const known = keysAt(schema, parent);
  const more = hint(parent, key, known) ?? nearHint(key, known);
  return {
    code: 'CONFIG_UNKNOWN_KEY',
    path,
    at: 'key',
    message: `${path.join('.')} is not a known key${more}`,
  };
}

function nearHint(key: string, known: readonly string[]): string {
  const near = nearestWord(key, known);
  return near === null ? `; known here: ${known.toSorted().join(', ')}` : `; did you mean ${near}?`;
}

/** Keys that the schema knows below `path`. */
export function keysAt(schema: z.ZodType, path: KeyPath): readonly string[] {
  const shape = path.reduce<z.ZodType | undefined>((at, key) => shapeOf(at)?.[key], schema);
  return Object.keys(shapeOf(shape) ?? {}).filter((key) => key !== '$schema');
}

/** Every key of the schema, those below mappings dotted. */
export function allKeys(schema: z.ZodType): readonly string[] {
  return keysAt(schema, []).flatMap((key) => {
    const below = shapeOf(shapeOf(schema)?.[key]);
    const inner = below === undefined ? undefined : (shapeOf(schema)?.[key] as z.ZodType);
    return inner === undefined ? [key] : allKeys(inner).map((one) => `${key}.${one}`);
  });
}

/** Looks through `nullish()` and `preprocess()` for the object below. */
function shapeOf(schema: z.ZodType | undefined): Record<string, z.ZodType> | undefined {
  if (schema instanceof z.ZodObject) return schema.shape as Record<string, z.ZodType>;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return shapeOf(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) return shapeOf(schema.out as z.ZodType);
  return undefined;
}
