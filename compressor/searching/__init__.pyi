from .applying import apply_recipe as apply_recipe
from .document import SEARCH as SEARCH, read_search as read_search
from .evolution import SCHEMES as SCHEMES, Evolution as Evolution
from .goal import Goal as Goal
from .recipe import Recipe as Recipe, read_recipe as read_recipe
from .session import SEARCH_SUFFIX as SEARCH_SUFFIX, search as search
from .trials import TRIAL as TRIAL
