/** The interpreter that tests use: `.venv`, which `npm test` makes from test/requirements.txt. */
import { existsSync } from 'node:fs';
import { packageFile } from '../../common/io/package-files.ts';

/** Absolute path of the virtual environment's interpreter; throws when it is not there. */
export function testPython(): string {
  const path = packageFile('.venv', 'bin', 'python');
  if (!existsSync(path)) {
    throw new Error(`${path} does not exist: tests of the Python host need it; \`npm test\` makes it, or by hand:
  python3 -m venv .venv && .venv/bin/pip install -r test/requirements.txt`);
  }
  return path;
}
