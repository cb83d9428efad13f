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

/** `node`: of the worker node, whose own settings (`BATCHMILL_…`, which hold a token) stay with it. */
export function installerEnvironment(node: Environment): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(node)) {
    if (value === undefined || misleading.has(name) || name.startsWith('BATCHMILL_')) continue;
    passed[name] = value;
  }
  for (const [name, uvName] of Object.entries(uvNames)) {
    const value = passed[name];
    if (value === undefined || passed[uvName] !== undefined) continue;
    passed[uvName] = name === 'PIP_FIND_LINKS' ? value.trim().replace(/\s+/g, ',') : value;
  }
  return { ...passed, ...fixed };
}
