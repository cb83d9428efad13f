/** The published JSON Schemas are those that the program reads with, and say so of what it writes. */
import { Ajv } from 'ajv';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { formatJsonSchema } from '../../common/config/json-schema.ts';
import { packageFile } from '../../common/io/package-files.ts';
import {
  manifestJsonSchemas,
  manifestSchema,
  type ManifestSchemaName,
} from '../../coordinator/output/manifest-schema.ts';
import { sealedSample, textOf } from '../helpers/sealed-sample.ts';

const schemas = manifestJsonSchemas();
// Times are of the form that the pattern beside the format says.
const ajv = new Ajv({
  strict: true,
  strictTypes: false,
  strictTuples: false,
  allErrors: true,
  formats: { 'date-time': true },
});
const validate = (name: ManifestSchemaName, value: unknown): readonly string[] => {
  const check = ajv.compile(schemas[name]);
  return check(value) ? [] : (check.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`);
};
const names = Object.keys(schemas) as ManifestSchemaName[];

test.each(names)('schemas/%s.schema.json is what the program reads; if not, run `node scripts/schemas.mjs`', (name) => {
  expect(readFileSync(packageFile('schemas', `${name}.schema.json`), 'utf8')).toBe(formatJsonSchema(schemas[name]));
});

test.each([
  ['manifest-file', '_manifest/files-00000.jsonl', 'ordinal'],
  ['manifest-segment', '_manifest/segments-00000.jsonl', 'crc32'],
  ['manifest-error', '_errors.jsonl', 'code'],
] as const)('%s describes the lines of %s', async (name, path, key) => {
  const lines = textOf(await sealedSample(), path)
    .trimEnd()
    .split('\n');
  for (const line of lines) {
    const value = JSON.parse(line) as Record<string, unknown>;
    expect(validate(name, value)).toEqual([]);
    expect(validate(name, { ...value, [key]: [] }).length).toBeGreaterThan(0);
    expect(validate(name, { ...value, of_a_newer_release: 1 })).toEqual([]);
  }
});

test('manifest describes _manifest.json, signed or not; one of format 1 is one still', async () => {
  for (const isSigned of [false, true]) {
    const value = JSON.parse(textOf(await sealedSample({ isSigned }), '_manifest.json')) as Record<string, unknown>;
    expect(validate('manifest', value)).toEqual([]);
    expect(validate('manifest', { ...value, verdict: 'Done' })).toHaveLength(1);
    const { segments: _, totals: __, signed_by: ___, ...first } = value;
    expect(validate('manifest', { ...first, format: 1 })).toEqual([]);
    expect(manifestSchema.safeParse({ ...first, format: 1 }).success).toBe(true);
  }
});

test('custom files are described too', () => {
  const line = { path: 'a.txt', bytes: 3, sha256: '0'.repeat(64), mini_batches: 1 };
  expect(validate('manifest-custom', line)).toEqual([]);
  expect(validate('manifest-custom', { ...line, sha256: 'x' })).toHaveLength(1);
});
