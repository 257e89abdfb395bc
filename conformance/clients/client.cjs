// The official JavaScript client: list, watch, create, exec, delete.
const assert = require('node:assert');
const { PassThrough } = require('node:stream');

async function main() {
  const k8s = await import(require.resolve('@kubernetes/client-node'));
  const config = new k8s.KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(k8s.CoreV1Api);
  const namespace = 'javascript';
  await core.createNamespace({ body: { metadata: { name: namespace } } });

  const found = (path, wanted) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${path}`)), 90_000);
    const watch = new k8s.Watch(config);
    let request;
    const stop = (value) => { clearTimeout(timer); request.then((r) => r.abort()); resolve(value); };
    request = watch.watch(path, {}, (type, object) => wanted(object) && stop(type), () => {});
  });
  const base = `/api/v1/namespaces/${namespace}`;
  await found(`${base}/serviceaccounts`, (account) => account.metadata.name === 'default');
  await core.createNamespacedPod({
    namespace,
    body: {
      metadata: { name: 'box' },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'main', image: 'test.local/testbox:1', args: ['serve'] }],
      },
    },
  });
  const ready = (pod) => (pod.status.conditions || []).some((c) => c.type === 'Ready' && c.status === 'True');
  await found(`${base}/pods`, ready);
  const list = await core.listNamespacedPod({ namespace });
  assert.deepStrictEqual(list.items.map((pod) => pod.metadata.name), ['box']);

  const output = new PassThrough();
  let text = '';
  output.on('data', (chunk) => { text += chunk; });
  await new Promise((resolve, reject) => {
    new k8s.Exec(config)
      .exec(namespace, 'box', 'main', ['echo', 'from javascript'], output, output, null, false, resolve)
      .catch(reject);
  });
  assert.strictEqual(text, 'from javascript\n');

  await assert.rejects(core.readNamespacedPod({ name: 'absent', namespace }), (error) => error.code === 404);
  await core.deleteNamespace({ name: namespace });
  console.log('javascript: list, watch, create, exec and errors work');
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
