"""Made-up heads and scans with known truth, for tests, benchmarks and the embedded demo.

Import from the modules: :mod:`data_fixtures.head`, :mod:`data_fixtures.scan`,
:mod:`data_fixtures.texture` and :mod:`data_fixtures.headspace_tree`.
"""
