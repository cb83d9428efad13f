import { describe, expect, it } from 'vitest';
import type { CondaSpec } from '../../common/core/deployment.ts';
import { digest } from '../../common/core/ids.ts';
import { installerEnvironment, readPipConfiguration } from '../../worker/environments/installer-environment.ts';
import { essentialLine, InstallerOutput } from '../../worker/environments/installer-output.ts';
import { asRequirement, packageName, readCondaFile, versionPart } from '../../worker/environments/conda-file.ts';
import { planEnvironment, type NodeTools } from '../../worker/environments/plan-environment.ts';
import { chooseInterpreter, type Interpreter, type Version } from '../../worker/environments/python-version.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { matching } from '../helpers/matching.ts';

const place = { dir: '/scratch/environments/abc/1' };

function interpreter(version: Version, hasVenv = true): Interpreter {
  return { path: `/py/${version.join('.')}/bin/python3`, version, hasVenv };
}

function refusal(code: ErrorCode, message: RegExp): Error {
  return expect.objectContaining({ code, message: matching(message) }) as Error;
}

const bare: NodeTools = {
  conda: null,
  uv: null,
  interpreters: [interpreter([3, 11, 7]), interpreter([3, 9, 18]), interpreter([3, 8, 18])],
  apptainer: null,
  docker: null,
};

function conda(yaml: string, name = 'heart-env'): { readonly kind: 'conda'; readonly conda: CondaSpec } {
  return { kind: 'conda', conda: { name, yaml, digest: digest(`sha256:${'a'.repeat(64)}`) } };
}

const pure = `
channels: [conda-forge]
dependencies:
- python=3.8.5
- pip<22.0
- pip:
  - azureml-core
  - azureml-dataset-runtime[fuse]~=1.41
  - six==1.16.0
  - --extra-index-url https://wheels.example/cu113
`;

describe('a conda file', () => {
  it('is read into Python, conda packages, pip lines and what is skipped', () => {
    const file = readCondaFile(`${pure}- conda-forge::scikit-learn=1.0=py38_0\n`, 'e');
    expect(file).toEqual({
      channels: ['conda-forge'],
      python: '=3.8.5',
      basics: ['pip<22.0'],
      packages: ['conda-forge::scikit-learn=1.0=py38_0'],
      pip: ['six==1.16.0', '--extra-index-url https://wheels.example/cu113'],
      skipped: ['azureml-core', 'azureml-dataset-runtime[fuse]~=1.41'],
    });
  });

  it.each([
    ['python', ''],
    ['python=3.8', '=3.8'],
    ['python =3.8', '=3.8'],
    ['python 3.8.*', '=3.8.*'],
    ['python=3.8=h123_0', '=3.8'],
    ['python==3.8.5', '==3.8.5'],
    ['conda-forge::python>=3.7, <3.10', '>=3.7,<3.10'],
  ])('takes from %s the version %j', (spec, version) => {
    expect(versionPart(spec)).toBe(version);
  });

  it.each([
    ['azureml_dataset.runtime[fuse]', 'azureml-dataset-runtime'],
    ['conda-forge::Python=3.8', 'python'],
    ['--extra-index-url https://a.b::c', ''],
  ])('knows %s as the package %j', (spec, name) => {
    expect(packageName(spec)).toBe(name);
  });

  it.each([
    ['setuptools=65', 'setuptools==65.*'],
    ['setuptools=65.*', 'setuptools==65.*'],
    ['wheel==0.40', 'wheel==0.40'],
    ['pip<22.0', 'pip<22.0'],
    ['wheel', 'wheel'],
  ])('asks pip for %s as %s', (spec, requirement) => {
    expect(asRequirement(spec)).toBe(requirement);
  });

  it.each([
    ['dependencies: {python: 3.8}', /e: dependencies: wanted a list, found {"python":3.8}/],
    ['- python', /e: the conda file: wanted a mapping with dependencies/],
    ['dependencies: [{conda: [a]}]', /e: dependencies: wanted names, or a list under pip/],
    ['dependencies: [{pip: [1]}]', /e: pip: wanted a list of texts, found \[1\]/],
    ['a: [', /e: the conda file is no YAML/],
  ])('that reads %j is refused', (yaml, message) => {
    expect(() => readCondaFile(yaml, 'e')).toThrow(refusal('ENVIRONMENT_INVALID', message));
  });
});

describe('the nearest interpreter', () => {
  const all = [
    interpreter([3, 11, 7]),
    interpreter([3, 12, 1]),
    interpreter([3, 9, 18]),
    interpreter([3, 8, 18]),
    interpreter([3, 7, 16]),
  ];
  it.each([
    [null, '3.11.7', null, 'the first when nothing is asked'],
    ['=3.12', '3.12.1', null, 'the minor version that is asked for'],
    ['=3.9.1', '3.9.18', '3.9.1', 'another patch of it'],
    ['=3.10', '3.11.7', '3.10', 'the next newer one'],
    ['=3.13', '3.12.1', '3.13', 'the newest older one'],
    ['=3.7.16', '3.8.18', '3.7.16', 'none that the host does not run on'],
    ['>=3.8,<3.10', '3.9.18', null, 'one within a range'],
    ['>=3.13', '3.12.1', '>=3.13', 'the nearest to a range'],
    ['~=3.9.2', '3.9.18', null, 'a compatible one'],
    ['=3.8.*', '3.8.18', null, 'any patch'],
  ] as const)('for %j is %s', (wanted, version, differs, _why) => {
    const choice = chooseInterpreter(wanted, all);
    expect(choice?.interpreter.version.join('.')).toBe(version);
    expect(choice?.wanted).toBe(differs);
  });

  it('is none where all are too old', () => {
    expect(chooseInterpreter('=3.8', [interpreter([3, 7, 1])])).toBeNull();
  });
});

describe('a plan', () => {
  it('makes a virtual environment and installs with pip where there is nothing else', () => {
    const plan = planEnvironment(conda(pure), bare, place);
    const dir = place.dir;
    expect(plan.tool).toBe('pip');
    expect(plan.files).toEqual([
      { path: `${dir}.requirements.txt`, text: 'six==1.16.0\n--extra-index-url https://wheels.example/cu113\n' },
    ]);
    const pip = ['-m', 'pip', 'install', '--no-input'];
    expect(plan.steps.map(({ command, args }) => [command, ...args])).toEqual([
      ['/py/3.8.18/bin/python3', '-m', 'venv', '--clear', dir],
      [`${dir}/bin/python`, ...pip, 'pip<22.0'],
      [`${dir}/bin/python`, ...pip, '-r', `${dir}.requirements.txt`],
    ]);
    expect(plan.warnings).toEqual([
      'environment heart-env asks for Python 3.8.5; this node has 3.8.18 (/py/3.8.18/bin/python3), which is used',
    ]);
    expect(plan.notes).toEqual([
      'azureml-core, azureml-dataset-runtime[fuse]~=1.41 left out: scripts need nothing of Azure’s runtime here',
    ]);
  });

  it('does not hold a newer Python to the pip of an older one', () => {
    const plan = planEnvironment(conda(pure), { ...bare, interpreters: [interpreter([3, 12, 1])] }, place);
    expect(plan.steps[1]?.args.at(-1)).toBe(`${place.dir}.requirements.txt`);
    expect(plan.notes.at(-1)).toBe('pip<22.0 is not held to: it belongs to another Python');
    expect(plan.warnings[0]).toContain('asks for Python 3.8.5; this node has 3.12.1');
  });

  it('uses uv when the node has it, also with an interpreter that cannot make environments itself', () => {
    const tools = { ...bare, uv: '/bin/uv', interpreters: [interpreter([3, 8, 18], false)] };
    const plan = planEnvironment(conda(pure), tools, place);
    expect(plan.tool).toBe('uv');
    expect(plan.steps.map(({ command, args }) => [command, ...args])).toEqual([
      ['/bin/uv', 'venv', '--no-project', '--python', '/py/3.8.18/bin/python3', place.dir],
      ['/bin/uv', 'pip', 'install', '--python', `${place.dir}/bin/python`, '-r', `${place.dir}.requirements.txt`],
    ]);
  });

  it.each([
    ['micromamba', ['create', '--yes']],
    ['mamba', ['env', 'create']],
    ['conda', ['env', 'create']],
  ] as const)('hands the file to %s, without what is skipped', (kind, verbs) => {
    const tools = { ...bare, uv: '/bin/uv', conda: { kind, path: `/opt/${kind}` } };
    const plan = planEnvironment(conda(`${pure}- numpy=1.21\n`), tools, place);
    expect(plan.tool).toBe(kind);
    expect(plan.steps.map(({ command, args }) => [command, ...args])).toEqual([
      [`/opt/${kind}`, ...verbs, '--prefix', place.dir, '--file', `${place.dir}.yml`],
    ]);
    const text = plan.files[0]?.text ?? '';
    expect(text).toContain('- python=3.8.5');
    expect(text).toContain('- numpy=1.21');
    expect(text).toContain('- six==1.16.0');
    expect(text).not.toContain('azureml');
    expect(plan.runner).toEqual({ kind: 'conda', dir: place.dir, python: `${place.dir}/bin/python` });
    expect(plan.warnings).toEqual([]);
  });

  it('asks a conda tool for a Python and for pip where the file names neither', () => {
    const tools = { ...bare, conda: { kind: 'conda', path: '/opt/conda' } as const };
    const plan = planEnvironment(conda('dependencies: [{pip: [six]}]'), tools, place);
    expect(plan.files[0]?.text).toBe('dependencies:\n  - python>=3.8\n  - pip\n  - pip:\n      - six\n');
  });

  it('refuses conda packages without a conda tool, and says what would do', () => {
    const wanted = /heart-env lists conda packages \(numpy=1.21, pandas\).*micromamba, mamba or conda.*`pip:`/;
    expect(() => planEnvironment(conda('dependencies: [python, numpy=1.21, pandas]'), bare, place)).toThrow(
      refusal('ENVIRONMENT_UNSUPPORTED', wanted),
    );
  });

  it('refuses without an interpreter that can make environments', () => {
    const tools = { ...bare, interpreters: [interpreter([3, 11, 2], false), interpreter([3, 6, 1])] };
    const wanted = /3\.11\.2 without venv; .*3\.6\.1.*python3-venv/;
    expect(() => planEnvironment(conda(pure), tools, place)).toThrow(refusal('ENVIRONMENT_UNSUPPORTED', wanted));
  });

  it('pulls an image with Apptainer, and takes a local one as it is', () => {
    const tools = { ...bare, apptainer: '/bin/apptainer' };
    const pulled = planEnvironment({ kind: 'image', image: 'r.example/a:1', conda: null }, tools, place);
    expect(pulled.steps).toEqual([
      {
        phase: 'pulling (apptainer)',
        command: '/bin/apptainer',
        args: ['pull', `${place.dir}/image.sif`, 'docker://r.example/a:1'],
      },
    ]);
    expect(pulled.runner).toMatchObject({ kind: 'apptainer', image: `${place.dir}/image.sif` });
    const local = planEnvironment({ kind: 'image', image: '/images/a.sif', conda: null }, tools, place);
    expect(local.steps).toEqual([]);
    expect(local.runner).toMatchObject({ image: '/images/a.sif' });
  });

  it('refuses an image without Apptainer, also where Docker is', () => {
    const image = { kind: 'image', image: 'a:1', conda: null } as const;
    expect(() => planEnvironment(image, bare, place)).toThrow(
      refusal('ENVIRONMENT_UNSUPPORTED', /image a:1, and this worker node has no Apptainer\. Install it/),
    );
    expect(() => planEnvironment(image, { ...bare, docker: '/bin/docker' }, place)).toThrow(
      refusal('ENVIRONMENT_UNSUPPORTED', /Docker is there, but cannot hand/),
    );
  });

  it('builds the conda file of an image on the node, and says so', () => {
    const plan = planEnvironment({ kind: 'image', image: 'base:1', conda: conda(pure).conda }, bare, place);
    expect(plan.tool).toBe('pip');
    expect(plan.notes.at(-1)).toBe('the image base:1 is not used: its conda file is built on this node');
  });
});

describe('what an installer says', () => {
  it.each([
    [
      ['Collecting six==1.16.0', 'ERROR: Cannot install six==1.15.0 and six==1.16.0.', 'ERROR: ResolutionImpossible'],
      'Cannot install six==1.15.0 and six==1.16.0.',
    ],
    [
      ['  × No solution found when resolving dependencies:', '  ╰─▶ Because you require a and b,', '      it fails.'],
      'No solution found when resolving dependencies: Because you require a and b, it fails.',
    ],
    [
      ['Using Python 3.11', 'error: No solution found', '  cause: Because you require a and b,', 'hint: none'],
      'No solution found Because you require a and b,',
    ],
    [['Solving…', 'LibMambaUnsatisfiableError: nothing provides x'], 'LibMambaUnsatisfiableError: nothing provides x'],
    [['error    libmamba Could not solve'], 'libmamba Could not solve'],
    [['one', 'the last'], 'the last'],
    [[], ''],
  ])('of %j the essence is %j', (lines, essence) => {
    expect(essentialLine(lines)).toBe(essence);
  });

  it('is kept to its last lines, whole ones', () => {
    const output = new InstallerOutput();
    for (let line = 0; line < 50; line += 1) output.push(`line ${line}\nhal`);
    expect(output.current).toBe('halline 49');
    expect(output.lastLines).toHaveLength(21);
    output.push(`f\r${'x'.repeat(200)}\n`);
    expect(output.current).toHaveLength(80);
  });

  it('names the package where pip only says that it is the one above', () => {
    const output = new InstallerOutput();
    output.push('Collecting numpy>=1.17.3\nCollecting scikit-learn==1.1.2 (from -r pip.txt (line 3))\n');
    for (let line = 0; line < 50; line += 1) output.push(`  Compiling ${line}.pyx\n`);
    output.push('error: metadata-generation-failed\n\n× Encountered error while generating package metadata.\n');
    output.push('╰─> See above for output.\n\nnote: This is an issue with the package mentioned above, not pip.\n');
    expect(output.essence).toMatch(/^scikit-learn==1\.1\.2 cannot be built from its source: Encountered error /);
  });
});

describe('the environment of an installer', () => {
  it('has the settings of the site, for uv too, and nothing that leads it elsewhere', () => {
    const environment = installerEnvironment({
      PATH: '/bin',
      PIP_INDEX_URL: 'https://index.example',
      PIP_FIND_LINKS: '/a /b',
      UV_DEFAULT_INDEX: 'https://uv.example',
      CONDARC: '/etc/condarc',
      PYTHONPATH: '/site',
      PIP_TARGET: '/elsewhere',
      BATCHMILL_TOKEN: 'secret',
      HOME: undefined,
    });
    expect(environment).toMatchObject({
      PATH: '/bin',
      PIP_INDEX_URL: 'https://index.example',
      UV_DEFAULT_INDEX: 'https://uv.example',
      UV_FIND_LINKS: '/a,/b',
      CONDARC: '/etc/condarc',
      PIP_NO_INPUT: '1',
    });
    for (const name of ['PYTHONPATH', 'PIP_TARGET', 'BATCHMILL_TOKEN', 'HOME'])
      expect(environment).not.toHaveProperty(name);
  });

  it('has for uv what pip’s configuration file says, where no variable does', () => {
    const pip = readPipConfiguration(
      '# of the site\n[global]\nindex-url = https://a.example\ncert: /ca.pem\n[list]\nformat = json\n' +
        '[install]\nfind-links =\n    /wheels\n    /more\n',
    );
    expect(pip).toEqual({ PIP_INDEX_URL: 'https://a.example', PIP_CERT: '/ca.pem', PIP_FIND_LINKS: '/wheels /more' });
    const environment = installerEnvironment({ PIP_CERT: '/own.pem' }, pip);
    expect(environment).toMatchObject({
      UV_DEFAULT_INDEX: 'https://a.example',
      SSL_CERT_FILE: '/own.pem',
      UV_FIND_LINKS: '/wheels,/more',
      PIP_CERT: '/own.pem',
    });
    expect(environment).not.toHaveProperty('PIP_INDEX_URL');
  });
});
