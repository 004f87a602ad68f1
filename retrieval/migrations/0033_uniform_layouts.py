"""Pictures of one class everywhere are marked, and indexes are built anew without them."""

from django.db import migrations, models

CELLS = 64

# A layout of one class has 1/8 in each of 64 cells: the sum 8, of which others have some too.
MARK = """
UPDATE retrieval_descriptor d SET uniform_class = u.class
  FROM unnest(%s::int[], %s::sparsevec[]) AS u(class, layout)
 WHERE d.release_id = %s
   AND l1_distance(d.layout, %s::sparsevec) BETWEEN 7.999 AND 8.001
   AND d.layout = u.layout
"""


def mark(apps, schema_editor):
    release_class = apps.get_model("retrieval", "SemanticClass")
    with schema_editor.connection.cursor() as cursor:
        for release in apps.get_model("retrieval", "Release").objects.all():
            classes = release_class.objects.filter(release=release).count()
            width = CELLS * classes
            layouts = [
                "{" + ",".join(f"{cell * classes + c + 1}:0.125" for cell in range(CELLS)) + f"}}/{width}"
                for c in range(classes)
            ]
            cursor.execute(MARK, (list(range(classes)), layouts, release.pk, f"{{}}/{width}"))
            # Built again by the worker (`paysage.indexes`) or `manage.py reindex`.
            for space in ("layout", "composition"):
                cursor.execute(f"DROP INDEX IF EXISTS hnsw_{space}_release_{release.pk}")


class Migration(migrations.Migration):

    dependencies = [("retrieval", "0032_duplicates_watermark")]

    operations = [
        migrations.AddField(
            model_name="descriptor",
            name="uniform_class",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.RunPython(mark, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="descriptor",
            index=models.Index(
                condition=models.Q(("uniform_class__isnull", False)),
                fields=["release", "uniform_class", "-image"],
                name="descriptor_uniform",
            ),
        ),
    ]
