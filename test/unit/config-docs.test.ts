import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  computeSchema,
  dataSchema,
  endpointSchema,
  environmentSchema,
  modelSchema,
} from '../../common/config/asset-schemas.ts';
import { flatSchema, nestedSchema } from '../../common/config/deployment-schema.ts';
import { allKeys } from '../../common/config/schema-problems.ts';
import { errorRules, type ErrorCode, type ErrorRule } from '../../common/core/error-codes.ts';
import { packageFile } from '../../common/io/package-files.ts';

interface Docs {
  renderErrors(rules: Readonly<Record<string, ErrorRule>>): string;
}

async function docs(): Promise<Docs> {
  return (await import(pathToFileURL(packageFile('scripts', 'docs.mjs')).href)) as Docs;
}

test('docs/errors.md is what the table says; if not, run `node scripts/docs.mjs`', async () => {
  const { renderErrors } = await docs();
  expect(readFileSync(packageFile('docs', 'errors.md'), 'utf8')).toBe(renderErrors(errorRules));
});

test('the page has every code, and changes with the table', async () => {
  const { renderErrors } = await docs();
  const page = renderErrors(errorRules);
  const missing = (Object.keys(errorRules) as ErrorCode[]).filter((code) => !page.includes(`| \`${code}\` |`));
  expect(missing).toEqual([]);
  const changed = { ...errorRules, USAGE: { ...errorRules.USAGE, help: 'Something else.' } };
  expect(renderErrors(changed)).not.toBe(page);
});

describe('the pages of YAML files', () => {
  const page = (name: string): string => readFileSync(packageFile('docs', name), 'utf8');
  /** Keys in the first column of a table. */
  const tabled = (text: string): readonly string[] =>
    [...text.matchAll(/^\| `([a-z_.$]+)` \|/gm)].map(([, key = '']) => key);
  const isBelow = (key: string): boolean => /^(model|environment)\./.test(key);

  test('docs/deployment.md has every key of a deployment, and no other', () => {
    const text = page('deployment.md');
    const known = [...allKeys(nestedSchema).filter((key) => !isBelow(key)), 'model', 'environment'];
    // Shapes of the built-in ONNX scorer have a page of their own where there is more than one.
    expect(known.filter((key) => !text.includes(`\`${key}\``) && !key.startsWith('settings.onnx.'))).toEqual([]);
    const table = text.split('## Keys\n')[1]?.split('\n## ')[0] ?? '';
    const isKnown = (key: string): boolean => known.some((one) => one === key || one.startsWith(`${key}.`));
    expect(tabled(table).filter((key) => !isKnown(key))).toEqual([]);
    expect(tabled(table)).toContain('settings.mlflow.rows_per_predict');
  });

  test('the flat form has the same keys, at the root', () => {
    const flat = allKeys(flatSchema);
    const moved = allKeys(nestedSchema).map((key) => key.replace(/^settings\./, ''));
    expect(flat.toSorted()).toEqual([...new Set(moved)].toSorted());
  });

  test.each([
    ['Endpoint', endpointSchema],
    ['Model', modelSchema],
    ['Data asset', dataSchema],
    ['Environment', environmentSchema],
    ['Compute', computeSchema],
  ])('docs/yaml-files.md has every key: %s', (title, schema) => {
    const text = page('yaml-files.md');
    const section = text.split(`## ${title}\n`)[1]?.split('\n## ')[0] ?? '';
    const common = ['name', 'version', 'description', 'tags', 'properties'];
    const known = allKeys(schema).filter((key) => !common.includes(key));
    expect(known.filter((key) => !section.includes(`\`${key}\``))).toEqual([]);
    expect(tabled(section).filter((key) => !known.includes(key) && key !== 'build')).toEqual([]);
    expect(common.filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
  });
});
