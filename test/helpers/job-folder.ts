/** Makes what a job needs in a test's own folder: deployments that use the scripts of test/e2e/scorers, and inputs. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageFile } from '../../common/io/package-files.ts';

/** Folder of the scoring scripts. */
export const scorersDir: string = packageFile('test', 'e2e', 'scorers');

export interface DeploymentFile {
  readonly script: string;
  readonly miniBatchSize?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Further lines of the YAML's root; settings stand there too. */
  readonly more?: readonly string[];
}

/** Writes `<dir>/<name>.yml`; returns its path. */
export function writeDeployment(dir: string, name: string, deployment: DeploymentFile): string {
  const { script, miniBatchSize = 10, environment = {}, more = [] } = deployment;
  const variables = Object.entries(environment).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`);
  const lines = [
    `name: ${name}`,
    'code_configuration:',
    `  code: ${JSON.stringify(scorersDir)}`,
    `  scoring_script: ${script}`,
    `mini_batch_size: ${miniBatchSize}`,
    ...(variables.length > 0 ? ['environment_variables:', ...variables] : []),
    ...more,
  ];
  const path = join(dir, `${name}.yml`);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

/** Writes files by relative path; returns their folder. */
export function writeInputs(dir: string, files: Iterable<readonly [path: string, content: string | Buffer]>): string {
  mkdirSync(dir, { recursive: true });
  for (const [path, content] of files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  return dir;
}

/** `count` small files that differ, a hundred to a folder. */
export function* smallFiles(count: number): Generator<[string, string]> {
  for (let index = 0; index < count; index += 1) {
    const folder = `part-${String(Math.floor(index / 100)).padStart(3, '0')}`;
    yield [`${folder}/file-${String(index).padStart(5, '0')}.txt`, `content ${index} ${'x'.repeat(index % 97)}\n`];
  }
}
