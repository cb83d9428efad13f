/** Environment variables of an installer. It is ours, so it gets the site's settings; not what would lead it elsewhere. */
import type { Environment } from '../../common/config/process-settings.ts';

/** They would put packages elsewhere, or have others found that are not of the environment. */
const misleading: ReadonlySet<string> = new Set([
  'PYTHONPATH',
  'PYTHONHOME',
  'PYTHONSTARTUP',
  'VIRTUAL_ENV',
  'CONDA_PREFIX',
  'PIP_TARGET',
  'PIP_PREFIX',
  'PIP_ROOT',
  'PIP_USER',
  'UV_PROJECT_ENVIRONMENT',
]);

/** uv's name for what pip is told by a variable; uv's own value wins. */
const uvNames: Readonly<Record<string, string>> = {
  PIP_INDEX_URL: 'UV_DEFAULT_INDEX',
  PIP_EXTRA_INDEX_URL: 'UV_INDEX',
  PIP_FIND_LINKS: 'UV_FIND_LINKS',
  PIP_CERT: 'SSL_CERT_FILE',
  PIP_TRUSTED_HOST: 'UV_INSECURE_HOST',
  PIP_CONSTRAINT: 'UV_CONSTRAINT',
};

/** Never asks, never looks at the user's own site-packages. */
const fixed: Readonly<Record<string, string>> = {
  PIP_DISABLE_PIP_VERSION_CHECK: '1',
  PIP_NO_INPUT: '1',
  PYTHONNOUSERSITE: '1',
  PYTHONUNBUFFERED: '1',
  CONDA_ALWAYS_YES: 'true',
  MAMBA_ALWAYS_YES: 'true',
  UV_NO_PROGRESS: '1',
  NO_COLOR: '1',
};

/**
 * `node`: of the worker node, whose own settings (`BATCHMILL_…`, which hold a token) stay with it. `pip`: what pip's
 * configuration files say, which uv does not read.
 */
export function installerEnvironment(
  node: Environment,
  pip: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(node)) {
    if (value === undefined || misleading.has(name) || name.startsWith('BATCHMILL_')) continue;
    passed[name] = value;
  }
  for (const [name, uvName] of Object.entries(uvNames)) {
    const value = passed[name] ?? pip[name];
    if (value === undefined || passed[uvName] !== undefined) continue;
    passed[uvName] = name === 'PIP_FIND_LINKS' ? value.trim().replace(/\s+/g, ',') : value;
  }
  return { ...passed, ...fixed };
}

/** The settings of a configuration file of pip's, under the names that the same have as variables. */
export function readPipConfiguration(text: string): Readonly<Record<string, string>> {
  const settings: Record<string, string> = {};
  let section = '';
  let name = '';
  for (const line of text.split('\n')) {
    const header = /^\[([^\]]+)\]/.exec(line)?.[1];
    const pair = /^([\w-]+)\s*[=:]\s*(.*)$/.exec(line);
    if (header !== undefined) [section, name] = [header, ''];
    else if (/^\s*[#;]/.test(line) || !['global', 'install'].includes(section)) continue;
    else if (pair) {
      name = `PIP_${(pair[1] as string).toUpperCase().replaceAll('-', '_')}`;
      settings[name] = (pair[2] as string).trim();
    } else if (/^\s+\S/.test(line) && name !== '') {
      // A value of several lines is a list.
      settings[name] = `${settings[name] ?? ''} ${line.trim()}`.trim();
    }
  }
  return settings;
}
