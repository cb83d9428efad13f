import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
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
