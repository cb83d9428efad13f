/**
 * Environment variables of a scoring host. User code sees what it needs to find libraries, devices and caches, and
 * nothing that could be a credential: a list of what passes, because a list of what must not is never complete.
 */

const allowedNames: ReadonlySet<string> = new Set([
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'LANG',
  'LANGUAGE',
  'TZ',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  'DYLD_LIBRARY_PATH',
  // Where an environment module or a virtual environment puts its libraries.
  'PYTHONPATH',
  'VIRTUAL_ENV',
  'CONDA_PREFIX',
  // Caches of models and certificates of the site.
  'XDG_CACHE_HOME',
  'HF_HOME',
  'TORCH_HOME',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'REQUESTS_CA_BUNDLE',
  // TensorFlow's by name: its prefix is Terraform's too, which keeps tokens there.
  'TF_CPP_MIN_LOG_LEVEL',
  'TF_FORCE_GPU_ALLOW_GROWTH',
  'TF_NUM_INTRAOP_THREADS',
  'TF_NUM_INTEROP_THREADS',
  'TF_ENABLE_ONEDNN_OPTS',
]);

const allowedPrefixes = [
  'LC_',
  'CUDA_',
  'NVIDIA_',
  'NCCL_',
  'ROCR_',
  'HIP_',
  'HSA_',
  'OMP_',
  'KMP_',
  'GOMP_',
  'MKL_',
  'OPENBLAS_',
  'NUMEXPR_',
] as const;

/** Refused whatever the lists say: `NVIDIA_API_KEY` has an allowed prefix. */
const secretName = /TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|AUTH/i;

export interface HostEnvironmentOptions {
  /** Environment of the worker node. */
  readonly node: Readonly<Record<string, string | undefined>>;
  /** `environment_variables` of the deployment; they may set anything, it is the caller's own. */
  readonly deployment: Readonly<Record<string, string>>;
  /** Folder that holds the model under its basename; null without a model. */
  readonly modelDir: string | null;
  /** What the node has chosen for this host: devices, threads. The deployment may say otherwise. */
  readonly chosen?: Readonly<Record<string, string>>;
  /** Folder of the environment that was built for the host; null or absent: an interpreter of the machine. */
  readonly built?: { readonly kind: 'venv' | 'conda'; readonly dir: string } | null;
  /** Where user code writes files of its own; null for scorers that are none of the user's. */
  readonly outputDir: string | null;
}

/** Of another Python than the one that was built for the host. */
const otherPython: ReadonlySet<string> = new Set(['PYTHONPATH', 'VIRTUAL_ENV', 'CONDA_PREFIX']);

/** True when a variable of the worker node passes to its scoring hosts. */
export function passesToHost(name: string): boolean {
  if (secretName.test(name)) return false;
  return allowedNames.has(name) || allowedPrefixes.some((prefix) => name.startsWith(prefix));
}

/** All variables of a scoring host. */
export function hostEnvironment(options: HostEnvironmentOptions): Record<string, string> {
  const { node, deployment, modelDir, outputDir, chosen, built } = options;
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(node)) {
    if (value === undefined || !passesToHost(name) || (built && otherPython.has(name))) continue;
    passed[name] = value;
  }
  if (built) Object.assign(passed, activation(built, passed['PATH'] ?? ''));
  const model = modelDir === null ? {} : { AZUREML_MODEL_DIR: modelDir };
  const output = outputDir === null ? {} : { AZUREML_BI_OUTPUT_PATH: outputDir };
  return { ...passed, ...chosen, ...deployment, ...model, ...output };
}

/** What `activate` would set, and nothing from the home folder's site-packages. */
function activation(
  { kind, dir }: NonNullable<HostEnvironmentOptions['built']>,
  path: string,
): Readonly<Record<string, string>> {
  return {
    PATH: path === '' ? `${dir}/bin` : `${dir}/bin:${path}`,
    [kind === 'venv' ? 'VIRTUAL_ENV' : 'CONDA_PREFIX']: dir,
    PYTHONNOUSERSITE: '1',
  };
}
