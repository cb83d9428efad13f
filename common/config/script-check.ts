/**
 * Parses a Python scoring script before anything is sent, as Azure's command line does: syntax alone, no imports, no call. The
 * script is read by a Python of this machine and never run.
 */
import { execFile } from 'node:child_process';
import { limits } from '../core/limits.ts';

export type ScriptCheck =
  | { readonly kind: 'fine' }
  | {
      readonly kind: 'syntax';
      readonly line: number;
      readonly column: number;
      /** The line at fault. */
      readonly text: string;
      readonly message: string;
      /** Minor version of the Python 3 that read it. */
      readonly minor: number;
    }
  /** No Python to ask, or it gave no answer. */
  | { readonly kind: 'skipped'; readonly reason: string };

const program = `
import ast, json, sys
answer = {"kind": "fine"}
try:
    with open(sys.argv[1], "rb") as script:
        ast.parse(script.read(), sys.argv[1])
except (SyntaxError, ValueError) as error:
    answer = {"kind": "syntax", "line": getattr(error, "lineno", None) or 0, "column": getattr(error, "offset", None) or 0,
              "text": (getattr(error, "text", None) or "").strip(), "message": getattr(error, "msg", None) or str(error),
              "minor": sys.version_info[1]}
print(json.dumps(answer))
`;

/** Asks the interpreter `python` (a path, or a name on PATH) to parse `script`, absolute. Never throws. */
export async function checkScript(script: string, python: string): Promise<ScriptCheck> {
  // Isolated and without site packages: nothing of the user's own is imported, and it starts three times as fast.
  const args = ['-I', '-S', '-c', program, script];
  const options = { timeout: limits.scriptCheckMsMax, windowsHide: true, maxBuffer: limits.stderrTailBytes * 16 };
  return await new Promise((done) => {
    execFile(python, args, options, (error, stdout, stderr) => {
      if (!error) return done(JSON.parse(stdout) as ScriptCheck);
      const [last = error.message] = stderr.trim().split('\n').slice(-1);
      const code = (error as NodeJS.ErrnoException).code;
      done({ kind: 'skipped', reason: code === 'ENOENT' ? `there is no ${python} here` : last || error.message });
    });
  });
}
