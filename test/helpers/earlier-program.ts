/** The program of this package as a release before would have it. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';
import { limits } from '../../common/core/limits.ts';
import { packageFile } from '../../common/io/package-files.ts';

export const earlierRelease = '0.0.9';

/** Builds it in `dir`, which does not exist: the same sources, with the protocol before. @returns the path of its `main.js` */
export async function buildEarlier(dir: string): Promise<string> {
  const { bundleProgram } = (await import(packageFile('scripts', 'program-bundle.mjs'))) as {
    bundleProgram(options: { readonly dist: string; readonly plugins: readonly Plugin[] }): Promise<void>;
  };
  const { damage } = (await import(packageFile('scripts', 'bundle.mjs'))) as {
    damage(change: { readonly path: string; readonly find: string; readonly put: string }): Plugin;
  };
  const dist = join(dir, 'dist');
  mkdirSync(join(dist, 'chunks'), { recursive: true });
  for (const path of ['node_modules', 'proto', 'worker']) symlinkSync(packageFile(path), join(dir, path));
  const manifest = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as object;
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ ...manifest, version: earlierRelease }));
  const { protocolVersion } = limits;
  const line = (version: number): string => `protocolVersion: ${version},`;
  const change = { path: 'common/core/limits.ts', find: line(protocolVersion), put: line(protocolVersion - 1) };
  await bundleProgram({ dist, plugins: [damage(change)] });
  return join(dist, 'cli', 'main.js');
}
