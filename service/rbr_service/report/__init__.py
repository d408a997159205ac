"""What a fit or an evaluation found, as one self-contained page: figures, tables, and how to read them.

    evidence -> rewards, grading (figures) + tables -> page.render -> HTML

Imported by the commands only when a report is asked for: the figures' library takes time to load.
"""

from rbr_service.report.page import render

__all__ = ["render"]
